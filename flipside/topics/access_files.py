"""The table of access as files: rules for Kafka, users for Redis, and the page's part (``make access``).

Both files are shell scripts that print or run what a server's own tools take; names and passwords come from the
environment, so that no secret is ever in the repository, and Redis' file holds hashes alone.
"""

from collections.abc import Iterator
from pathlib import Path

from controller.messages.topics import TOPICS
from flipside.schemas import ROOT
from flipside.topics.access import GROUPS, PRINCIPALS, Principal, may

KAFKA_FILE, REDIS_FILE, PAGE = "deploy/kafka/access.sh", "deploy/redis/users.sh", "docs/operating.md"
BEGINS, ENDS = "<!-- access: written by make access -->", "<!-- end of access -->"

_KAFKA_HEAD = """\
#!/bin/sh
# Who may read and write which topic, as access rules of Kafka. Written by `make access` from flipside/topics/access.py.
#
# Needs brokers with an authorizer (authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer) and
# Kafka's kafka-acls.sh on the PATH. What no rule allows is refused. Rules are added, none is removed: the script can be
# run again.
#
#   BOOTSTRAP          host:port of a broker (127.0.0.1:9092)
#   COMMAND_CONFIG     properties of a user who may set rules (none)
#   FLIPSIDE_NAMESPACE as the workers have it (none)
#   %s
#                      users of the roles (User:flipside-ROLE, such as User:flipside-worker)
set -eu
set -f
prefix=${FLIPSIDE_NAMESPACE:+$FLIPSIDE_NAMESPACE.}
acls() {
    kafka-acls.sh --bootstrap-server "${BOOTSTRAP:-127.0.0.1:9092}" \\
        ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --force "$@"
}
"""
_REDIS_HEAD = """\
#!/bin/sh
# Who may do what in Redis, as a file of users (aclfile). Written by `make access` from flipside/topics/access.py.
#
#   FLIPSIDE_NAMESPACE=prices WORKER_PASSWORD=... OPERATOR_PASSWORD=... MAINTAINER_PASSWORD=... \\
#       deploy/redis/users.sh > users.acl
#   redis-server ... --aclfile users.acl
#
# Redis 7 or newer. The file holds hashes of the passwords. The user without a name is switched off: add a
# line for the administrator of the server. Keys have the namespace at the head of their hash tag, {prices:t0}:epoch.
set -eu
hash() { printf %%s "$1" | sha256sum | cut -d ' ' -f 1; }
namespace=${FLIPSIDE_NAMESPACE:-}
%s
cat <<END
user default off
%s
END
"""


def _variable(principal: Principal) -> str:
    return principal.name.upper().replace("-", "_")


def kafka_script() -> str:
    """deploy/kafka/access.sh: one call of kafka-acls.sh for each role and kind of right."""
    roles = ", ".join(_variable(principal) for principal in PRINCIPALS)
    parts = [_KAFKA_HEAD % roles]
    for principal in PRINCIPALS:
        parts.append(f"\n# {principal.name}: {principal.who}\n")
        user = f'"${{{_variable(principal)}:-User:flipside-{principal.name}}}"'
        parts += [f"acls --allow-principal {user} {rule}" for rule in _rules(principal)]
    return "".join(parts)


def _rules(principal: Principal) -> Iterator[str]:
    for operation, topics in (("Read", principal.reads), ("Write", principal.writes)):
        if topics:
            yield f"--operation {operation}{_topics(topics)}\n"
    if principal.makes_topics:
        yield f"--operation Create --operation Describe --operation DescribeConfigs{_topics(frozenset(TOPICS))}\n"
    if principal.joins_groups:
        yield f'--operation Read --resource-pattern-type prefixed \\\n    --group "${{prefix}}{GROUPS}"\n'


def _topics(topics: frozenset[str]) -> str:
    return "".join(f' \\\n    --topic "${{prefix}}{topic}"' for topic in TOPICS if topic in topics)


def redis_script() -> str:
    """deploy/redis/users.sh: prints a line for each role that has a user in Redis."""
    users = [principal for principal in PRINCIPALS if principal.keys]
    hashes = "\n".join(
        f'{principal.name}=$(hash "${{{_variable(principal)}_PASSWORD:?password of the {principal.name}}}")'
        for principal in users
    )
    return _REDIS_HEAD % (hashes, "\n".join(_user(principal) for principal in users))


def _user(principal: Principal) -> str:
    commands = " ".join(f"+{command}" for command in sorted(principal.commands))
    return f"user {principal.name} on #${principal.name} {principal.keys}~{{$namespace:* resetchannels -@all {commands}"


def page() -> str:
    """The part of docs/operating.md: topics by role, and what each has in Redis."""
    names = [principal.name for principal in PRINCIPALS]
    lines = ["| role | who |", "| --- | --- |"]
    lines += [f"| {principal.name} | {principal.who} |" for principal in PRINCIPALS]
    lines += ["", f"| topic | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for topic in TOPICS:
        rights = [may(principal, topic) or ("make" if principal.makes_topics else "-") for principal in PRINCIPALS]
        lines.append(f"| `{topic}` | {' | '.join(rights)} |")
    rights = ["join" if principal.joins_groups else "-" for principal in PRINCIPALS]
    lines.append(f"| groups `{GROUPS}*` | {' | '.join(rights)} |")
    shown = {"": "-", "%R": "read", "%RW": "read, write"}
    rights = [shown[principal.keys] for principal in PRINCIPALS]
    lines.append(f"| Redis keys `{{NAMESPACE:*` | {' | '.join(rights)} |")
    return "\n".join(lines)


def with_page(document: str) -> str:
    """A page with its generated part written anew."""
    before, begins, rest = document.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not (begins and ends):
        raise ValueError(f"{PAGE} has no {BEGINS} or no {ENDS}")
    return f"{before}{BEGINS}\n{page()}\n{ENDS}{after}"


def main(root: Path = ROOT) -> None:
    """Write both files and the page anew."""
    for name, content in ((KAFKA_FILE, kafka_script()), (REDIS_FILE, redis_script())):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
    document = root / PAGE
    document.write_text(with_page(document.read_text()))


if __name__ == "__main__":
    main()
