"""The topics: names, keys, retention and who may find what in them. `flipside topics create` makes them so."""

from dataclasses import dataclass, field

DAY_MS = 86_400_000
FOREVER = "-1"

CATALOG = "pricing.catalog.v1"
COMPETITOR_PRICE = "pricing.competitor-price.v1"
SALE = "pricing.sale.v1"
DEFINITION = "pricing.experiment.definition.v1"
BLACKOUT = "pricing.experiment.blackout.v1"
ASSIGNMENT = "pricing.experiment.assignment.v1"
ASSIGNMENT_LOG = "pricing.experiment.assignment-log.v1"
APPLIED = "pricing.experiment.applied.v1"
PANEL = "pricing.experiment.panel.v1"
CHECKPOINT = "pricing.experiment.checkpoint.v1"
TICK = "pricing.experiment.tick.v1"
TRIGGER = "pricing.experiment.trigger.v1"
ESTIMATE = "pricing.experiment.estimate.v1"
SEQUENCE = "pricing.experiment.sequence.v1"
HEALTH = "pricing.experiment.health.v1"
SALE_CORRECTION = "pricing.experiment.sale-correction.v1"
GRAPH = "pricing.experiment.graph.v1"
DEAD_LETTER = "pricing.experiment.dead-letter.v1"

#: the largest record that an input may carry, and what a dead letter of it needs on top
MAX_INPUT_BYTES = 2 * 1024 * 1024
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the contract."""

    name: str
    #: what the record key is; the partition is murmur2(key) modulo the number of partitions
    key: str
    #: who writes and who reads
    writers: str
    readers: str
    config: dict[str, str] = field(default_factory=dict)


def _compacted(**more: str) -> dict[str, str]:
    return {"cleanup.policy": "compact", "max.message.bytes": str(MAX_RECORD_BYTES), **more}


def _kept(days: int | None, max_bytes: int = MAX_INPUT_BYTES) -> dict[str, str]:
    retention = FOREVER if days is None else str(days * DAY_MS)
    return {"cleanup.policy": "delete", "retention.ms": retention, "max.message.bytes": str(max_bytes)}


#: the broker's clock says when a record came, not its sender's
STAMPED = {"message.timestamp.type": "LogAppendTime"}
KEPT_FOR_READERS = {"min.compaction.lag.ms": str(3 * DAY_MS)}

OWNER, WORKERS, ANALYSIS = "the owner's systems", "workers", "analysis"

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        # Since when a unit is listed is the broker's word.
        Topic(CATALOG, "unit", OWNER, WORKERS, _compacted() | STAMPED),
        Topic(COMPETITOR_PRICE, "unit", OWNER, WORKERS, _kept(30)),
        # When a record came is the broker's word: a sender whose clock is wrong would vouch for its own future.
        Topic(SALE, "unit", OWNER, WORKERS, _kept(90) | STAMPED),
        # What is asked of an experiment has a key of its own: compaction must not put it in the definition's place.
        Topic(
            DEFINITION, "experiment; experiment/request; kill/id", "the command line", "workers, analysis", _compacted()
        ),
        Topic(BLACKOUT, "window id", "the command line", WORKERS, _compacted()),
        # Whether an announcement came in time is the broker's word as well: see
        # `controller.messages.codec.ANNOUNCE_BY`.
        # A reader that starts between an announcement and its midnight needs the record of the running day as well,
        # which was published up to two days before: compaction must leave that one alone.
        Topic(ASSIGNMENT, "unit", WORKERS, "pricing systems", _compacted(**KEPT_FOR_READERS) | STAMPED),
        Topic(
            ASSIGNMENT_LOG,
            "unit, experiment or window id",
            WORKERS,
            "analysis, verify",
            _kept(None, MAX_RECORD_BYTES) | STAMPED,
        ),
        Topic(APPLIED, "unit", "pricing systems", ANALYSIS, _kept(90)),
        Topic(
            PANEL,
            "unit/day; market/day for its closing; market/day/unsold/part",
            WORKERS,
            "analysis, analysts",
            _compacted(),
        ),
        # A rebuild reads all of it: outdated records are to be compacted within a day.
        Topic(CHECKPOINT, "shard/number, or experiment", WORKERS, WORKERS, _compacted(**{"segment.ms": str(DAY_MS)})),
        # Stamped, so that a worker can compare its clock with the brokers'.
        Topic(
            TICK, "none: written to every partition", "reconciler, or a simulated clock", WORKERS, _kept(30) | STAMPED
        ),
        Topic(TRIGGER, "market", WORKERS, "the market's owner", _kept(30)),
        Topic(ESTIMATE, "experiment/metric/arm/estimator", ANALYSIS, "analysts", _compacted()),
        Topic(SEQUENCE, "experiment/metric/arm", ANALYSIS, "analysts, workers", _compacted()),
        Topic(HEALTH, "experiment/check", ANALYSIS, "on-call", _compacted()),
        Topic(SALE_CORRECTION, "unit and the sale's id", WORKERS, "analysts", _compacted()),
        # A version is used only once its head has come, and the head only with all of its parts.
        Topic(
            GRAPH,
            "version for its head; version/pairs/part; version/clusters/size/part",
            "CLI",
            "workers, analysis",
            _compacted(),
        ),
        Topic(DEAD_LETTER, "original key", WORKERS, "on-call", _kept(90, MAX_RECORD_BYTES)),
    )
}
