#!/bin/sh
# Who may do what in Redis, as a file of users (aclfile). Written by `make access` from flipside/topics/access.py.
#
#   FLIPSIDE_NAMESPACE=prices WORKER_PASSWORD=... OPERATOR_PASSWORD=... MAINTAINER_PASSWORD=... \
#       deploy/redis/users.sh > users.acl
#   redis-server ... --aclfile users.acl
#
# Redis 7 or newer. The file holds hashes of the passwords. The user without a name is switched off: add a
# line for the administrator of the server. Keys have the namespace at the head of their hash tag, {prices:t0}:epoch.
set -eu
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
namespace=${FLIPSIDE_NAMESPACE:-}
operator=$(hash "${OPERATOR_PASSWORD:?password of the operator}")
maintainer=$(hash "${MAINTAINER_PASSWORD:?password of the maintainer}")
worker=$(hash "${WORKER_PASSWORD:?password of the worker}")
cat <<END
user default off
user operator on #$operator %R~{$namespace:* resetchannels -@all +auth +exists +get +hello +hget +hgetall +hkeys +hmget +hvals +info +mget +ping +scan +select +time +type +xlen +xrange +zcount +zrangebyscore
user maintainer on #$maintainer %RW~{$namespace:* resetchannels -@all +auth +del +exists +get +hello +hget +hgetall +hkeys +hmget +hvals +info +mget +ping +scan +select +time +type +unlink +xlen +xrange +zcount +zrangebyscore
user worker on #$worker %RW~{$namespace:* resetchannels -@all +auth +del +eval +evalsha +exists +expire +get +hdel +hello +hget +hgetall +hkeys +hlen +hmget +hrandfield +hset +hsetnx +hvals +incr +info +mget +ping +sadd +scan +script|exists +script|load +select +set +smismember +time +type +unlink +xadd +xdel +xinfo|stream +xlen +xrange +zadd +zcount +zrangebyscore +zrem
END
