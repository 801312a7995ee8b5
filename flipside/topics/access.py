"""Who may write what: one table by principal, of which the rules for Kafka and Redis and the page are made.

A principal is a role, not a person: each has a user of its own in Kafka, and in Redis where it needs one. It may do
what its own programs do, and nothing else: a pricing system that is taken over can't decide, an analyst's key can't
stop an experiment, and the owner's systems can't publish assignments. `flipside.topics.access_files` writes the rules.
"""

from dataclasses import dataclass

from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT,
    ASSIGNMENT_LOG,
    BLACKOUT,
    CATALOG,
    CHECKPOINT,
    COMPETITOR_PRICE,
    DEAD_LETTER,
    DEFINITION,
    ESTIMATE,
    GRAPH,
    HEALTH,
    PANEL,
    SALE,
    SALE_CORRECTION,
    SEQUENCE,
    TICK,
    TOPICS,
    TRIGGER,
)

#: every consumer group's name begins so, after the namespace and its dot
GROUPS = "flipside"

#: what redis-py needs to be connected; it does without CLIENT SETINFO, which Redis has from 7.2 on
_CONNECTING = ("auth", "hello", "ping", "select")
#: `Link.ping` asks for the policy of eviction
_LOOKING = (
    *_CONNECTING,
    *("exists", "get", "hget", "hgetall", "hkeys", "hmget", "hvals", "info", "mget", "scan", "time", "type"),
    *("xlen", "xrange", "zcount", "zrangebyscore"),
)
_DROPPING = ("del", "unlink")
#: what the scripts under streams/store/redis/scripts/ call besides, and how they are called
_WRITING = (
    *_DROPPING,
    *("eval", "evalsha", "script|load", "script|exists"),
    *("expire", "hdel", "hlen", "hrandfield", "hset", "hsetnx", "incr", "sadd", "set", "smismember"),
    *("xadd", "xdel", "xinfo|stream", "zadd", "zrem"),
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A role: what it reads and writes, and nothing else."""

    name: str
    #: who works as it
    who: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    #: whether it joins the workers' consumer groups, and so takes partitions
    joins_groups: bool = False
    #: whether it makes topics, and compares their settings with the contract
    makes_topics: bool = False
    #: Redis: ``%RW`` reads and writes the namespace's keys, ``%R`` reads them; empty: no user there
    keys: str = ""
    #: Redis: the commands that it may send, or its scripts may call
    commands: tuple[str, ...] = ()


PRINCIPALS: tuple[Principal, ...] = (
    Principal(
        "owner",
        "the owner's systems: catalog, sales, rivals' prices",
        writes=frozenset({CATALOG, SALE, COMPETITOR_PRICE}),
    ),
    Principal(
        "pricing-system",
        "pricing systems, by `flipside-client` or a client of their own",
        reads=frozenset({ASSIGNMENT}),
        writes=frozenset({APPLIED}),
    ),
    Principal(
        "operator",
        "people and pipelines that run `flipside experiment`, `blackout`, `graph`, `verify`, `dead-letters list`",
        # What only workers write is not among what is written: a user who may ask for a decision cannot forge one.
        reads=frozenset(TOPICS) - {COMPETITOR_PRICE, CHECKPOINT, TICK, TRIGGER},
        writes=frozenset({DEFINITION, BLACKOUT, GRAPH}),
        keys="%R",
        commands=_LOOKING,
    ),
    Principal(
        "maintainer",
        "people who repair: `flipside dead-letters redrive`, `flipside rebuild`",
        reads=frozenset({DEAD_LETTER, CHECKPOINT}),
        writes=frozenset({DEAD_LETTER, CHECKPOINT, CATALOG, SALE, COMPETITOR_PRICE, DEFINITION, BLACKOUT}),
        keys="%RW",
        commands=(*_LOOKING, *_DROPPING),
    ),
    Principal(
        "installer",
        "people and pipelines that run `flipside topics create`",
        makes_topics=True,
    ),
    Principal(
        "worker",
        "`flipside worker`",
        reads=frozenset(TOPICS) - {APPLIED, ESTIMATE, HEALTH},
        # Definitions: a guardrail and the lifecycle's clock ask for a stop in the same way as a person.
        writes=frozenset(
            {ASSIGNMENT, ASSIGNMENT_LOG, PANEL, SALE_CORRECTION, DEAD_LETTER, CHECKPOINT, TICK, TRIGGER, DEFINITION}
        ),
        joins_groups=True,
        keys="%RW",
        commands=(*_LOOKING, *_WRITING),
    ),
    Principal(
        "analysis",
        "`flipside analysis`",
        reads=frozenset({ASSIGNMENT_LOG, PANEL, APPLIED, CATALOG, COMPETITOR_PRICE, GRAPH, ESTIMATE, SEQUENCE, HEALTH}),
        writes=frozenset({ESTIMATE, SEQUENCE, HEALTH}),
    ),
    Principal(
        "analyst",
        "people who read results: `flipside estimates`, `export`, `report`, notebooks",
        # Not the definitions: a seed that is committed is revealed in the log, when it is over.
        reads=frozenset({ASSIGNMENT_LOG, PANEL, ESTIMATE, SEQUENCE, HEALTH, SALE_CORRECTION}),
    ),
)
BY_NAME = {principal.name: principal for principal in PRINCIPALS}


def may(principal: Principal, topic: str) -> str:
    """What a principal may do with a topic, as the table has it: ``read``, ``write``, both, or nothing."""
    done = [verb for verb, topics in (("read", principal.reads), ("write", principal.writes)) if topic in topics]
    return ", ".join(done)
