-- Write and drop fields of some of a shard's hashes while its owner.
-- KEYS: epoch, hash, ... ARGV: epoch, changes (JSON: [number of the hash (from 1), field, value, or false to drop it])
for _, change in ipairs(cjson.decode(ARGV[2])) do
  local key = KEYS[1 + change[1]]
  if change[3] then redis.call('HSET', key, change[2], change[3]) else redis.call('HDEL', key, change[2]) end
end
return 1
