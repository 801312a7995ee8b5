"""What Prometheus sees. Labels are closed sets: no unit, market or experiment is ever one."""

import math
from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from controller.messages.events import Estimate
from controller.messages.findings import Health, RunningSequence
from streams.store.outbox_invariants import RULES

Whole = Callable[[Iterable[float]], float]
#: what is shown where no shard shows anything
NONE: dict[Whole, float] = {sum: 0.0, max: 0.0, min: math.inf}


class OverShards:
    """A gauge over the shards that a worker holds: each shard's duties set their own, the scrape sees the whole."""

    def __init__(self, whole: Whole, name: str, meaning: str, registry: CollectorRegistry) -> None:
        self._values: dict[int, float] = {}
        Gauge(name, meaning, registry=registry).set_function(
            lambda: whole(tuple(self._values.values()) or (NONE[whole],))
        )

    def set(self, shard: int, value: float) -> None:
        """What a shard shows from now on."""
        self._values[shard] = value

    def drop(self, shard: int) -> None:
        """The shard is another worker's."""
        self._values.pop(shard, None)


class Metrics:
    """The meters of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        Info("flipside_build", "Version of the running code", registry=registry).info({"version": version("flipside")})
        self.events = Counter(
            "flipside_events", "Input events by topic and outcome", ["topic", "outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "flipside_dead_letters", "Records rejected, by reason", ["reason"], registry=registry
        )
        self.set_aside = Counter(
            "flipside_set_aside",
            "Records, markets and experiments that an error nobody foresaw has set aside, by input or duty",
            ["kind", "duty"],
            registry=registry,
        )
        for kind in ("market", "experiment"):
            for duty in ("deciding", "closing", "relay"):
                self.set_aside.labels(kind, duty)
        self.suspended = OverShards(
            sum, "flipside_suspended_markets", "Markets, or experiments in one, that are on control until a restart",
            registry,
        )  # fmt: skip
        self.flips = Counter("flipside_flips", "Proposals decided, by outcome", ["outcome"], registry=registry)
        self.undelivered = Counter(
            "flipside_undelivered_market_days", "Days for which no decision was in time", registry=registry
        )
        self.fenced = Counter(
            "flipside_fenced", "Writes refused because a newer owner holds the shard", registry=registry
        )
        self.breaches = Counter(
            "flipside_guardrail_breaches", "Guardrails breached, by what they ask for", ["on_breach"], registry=registry
        )
        self.triggers = Counter(
            "flipside_triggers", "Rules that fired on a rival's price, and what became of them", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.rebuilds = Counter(
            "flipside_rebuilds",
            "Shards and inputs that were rebuilt, by what was wrong",
            ["what", "why"],
            registry=registry,
        )
        for what in ("shard", "sale", "competitor-price"):
            for why in ("lost", "older", "damaged"):
                self.rebuilds.labels(what, why)
        self.waits = Counter("flipside_waits", "Turns of a duty that ended in waiting", ["duty"], registry=registry)
        self.shards_owned = Gauge("flipside_shards_owned", "Shards that this worker decides for", registry=registry)
        self.epoch = Gauge(
            "flipside_epoch", "Greatest epoch among the shards that this worker decides for", registry=registry
        )
        self.outbox_depth = OverShards(
            sum, "flipside_outbox_entries", "Outbox entries of a round, not yet acknowledged", registry
        )
        self.outbox_age = OverShards(
            max, "flipside_outbox_age_seconds", "Since the oldest decision not yet acknowledged by Kafka", registry
        )
        self.due = OverShards(sum, "flipside_market_days_due", "Market-days to be decided now", registry)
        self.overdue = OverShards(
            max, "flipside_decision_overdue_seconds", "Since the oldest of them could be decided", registry
        )
        self.lease = OverShards(
            min, "flipside_lease_remaining_seconds", "Until the first lease ends that nothing follows yet", registry
        )
        self.violations = Counter(
            "flipside_invariant_violations", "Rules broken by what goes out, by rule", ["rule"], registry=registry
        )
        for rule in RULES:
            self.violations.labels(rule)
        self.flip_skew = Histogram(
            "flipside_flip_skew_seconds",
            "From the instant of a flip to its acknowledged record; 0 where that was ahead of it",
            buckets=(0.0, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0),
            registry=registry,
        )
        self.lag_records = Gauge(
            "flipside_input_lag_records", "Input records not yet folded, by topic", ["topic"], registry=registry
        )
        self.lag_seconds = Gauge(
            "flipside_input_lag_seconds",
            "Age of the last folded record of the partition furthest behind; 0 where all is folded",
            ["topic"],
            registry=registry,
        )
        self.unit_days = Counter(
            "flipside_unit_days_published", "Panel rows published, by kind", ["kind"], registry=registry
        )
        self.unsold = Counter(
            "flipside_unsold_unit_days", "Listed unit-days without a sale, as first closed: zeros, or why not",
            ["what"], registry=registry,
        )  # fmt: skip
        for what in ("zero", "feed_silent", "closed"):
            self.unsold.labels(what)
        self.sold_while_closed = Counter(
            "flipside_sold_while_closed_unit_days",
            "Unit-days with a sale on a day on which the catalog says that the unit is closed, as first closed",
            registry=registry,
        )
        self.decision_seconds = Histogram(
            "flipside_decision_seconds", "From a tick to its decisions stored", registry=registry
        )
        self.publish_seconds = Histogram(
            "flipside_publish_seconds", "From outbox to acknowledged records", registry=registry
        )
        self.watermark = Gauge(
            "flipside_watermark_timestamp_seconds",
            "Sales before this instant are counted, least of all inputs",
            registry=registry,
        )


class AnalysisMetrics:
    """The meters of an analysis process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        Info("flipside_build", "Version of the running code", registry=registry).info({"version": version("flipside")})
        self.estimates = Counter(
            "flipside_estimates_published", "Estimates, by whether there was a number", ["outcome"], registry=registry
        )
        self.watermark = Gauge(
            "flipside_estimate_watermark_timestamp_seconds", "Watermark of the latest estimate", registry=registry
        )
        self.checks = Gauge(
            "flipside_health_checks",
            "Experiments by check and its last verdict since this process started",
            ["check", "verdict"],
            registry=registry,
        )
        self._verdicts: dict[tuple[str, str], str] = {}
        self.set_aside = Counter(
            "flipside_set_aside",
            "Records, and experiments, that an error nobody foresaw has set aside",
            ["kind", "duty"],
            registry=registry,
        )
        for kind in ("record", "experiment"):
            self.set_aside.labels(kind, "analysis")

    def put_aside(self, kind: str) -> None:
        """Count a record or an experiment that was set aside."""
        self.set_aside.labels(kind, "analysis").inc()

    def saw(self, finding: Estimate | RunningSequence | Health) -> None:
        """Count what was published."""
        if isinstance(finding, Estimate):
            self.estimates.labels("absent" if finding.absolute is None else "number").inc()
            if finding.watermark is not None:
                self.watermark.set(finding.watermark.timestamp())
        elif isinstance(finding, Health):
            held = self._verdicts.get((finding.experiment, finding.check))
            if held is not None:
                self.checks.labels(finding.check, held).dec()
            self.checks.labels(finding.check, finding.verdict).inc()
            self._verdicts[finding.experiment, finding.check] = finding.verdict
