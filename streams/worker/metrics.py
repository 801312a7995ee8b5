"""What Prometheus sees. Labels are closed sets: no unit, market or experiment is ever one."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from controller.messages.control import State
from controller.messages.events import Estimate
from controller.messages.findings import Health, RunningSequence
from controller.messages.topics import BLACKOUT, CATALOG, COMPETITOR_PRICE, DEFINITION, SALE
from streams.store.outbox_invariants import RULES

#: ``assigned``: an arm other than control, under its lease; ``control``: control, because that was decided;
#: ``blackout``: either of them, in a window in which it may not change; ``lapsed``: control, because nothing was
#: decided in time; ``unknown``: what holds today was decided before this owner came, and tomorrow's has replaced it
Why = Literal["assigned", "control", "blackout", "lapsed", "unknown"]
WHYS: tuple[Why, ...] = get_args(Why)
#: outcomes of proposals, and reasons of dead letters, that are counted from the start: `increase` sees the first one
OUTCOMES = ("flipped", "blocked", "repeated", "withheld", "late", "at once")
REASONS = (
    "competitors", "currency", "failed", "future", "key", "partition", "past", "refused", "sum", "unknown-unit",
    "unreadable", "version",
)  # fmt: skip
#: topics whose records become dead letters
REJECTED_FROM = (CATALOG, SALE, COMPETITOR_PRICE, DEFINITION, BLACKOUT)
#: inputs, as metrics name them
INPUTS = ("sale", "competitor-price")
#: whose clocks a worker compares with its own
CLOCKS = ("redis", "kafka")
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


class LabelledOverShards:
    """The same for each value of one label, of a closed set: all of them are there from the beginning."""

    def __init__(
        self, whole: Whole, name: str, meaning: str, label: str, values: Iterable[str], registry: CollectorRegistry
    ) -> None:
        self._shown: dict[int, Mapping[Any, float]] = {}
        gauge = Gauge(name, meaning, [label], registry=registry)
        for value in values:
            gauge.labels(value).set_function(partial(self._whole, whole, value))

    def _whole(self, whole: Whole, value: str) -> float:
        return whole(tuple(shown.get(value, 0.0) for shown in self._shown.values()) or (NONE[whole],))

    def set(self, shard: int, shown: Mapping[Any, float]) -> None:
        """What a shard shows from now on."""
        self._shown[shard] = shown

    def drop(self, shard: int) -> None:
        """The shard is another worker's."""
        self._shown.pop(shard, None)


class Metrics:
    """The meters of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        Info("flipside_build", "Version of the running code", registry=registry).info({"version": version("flipside")})
        self.events = Counter(
            "flipside_events", "Input events by topic and outcome", ["topic", "outcome"], registry=registry
        )
        self.dead_letters = Counter(
            "flipside_dead_letters", "Records rejected, by topic and reason", ["topic", "reason"], registry=registry
        )
        for topic, reason in product(REJECTED_FROM, REASONS):
            self.dead_letters.labels(topic, reason)
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
        for outcome in OUTCOMES:
            self.flips.labels(outcome)
        self.announced_late = Counter(
            "flipside_announcements_late",
            "Announced assignments that a broker stamped at or after their instant: void to every reader",
            registry=registry,
        )
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
        self.undecided = OverShards(
            sum,
            "flipside_undecided_market_days",
            "Market-days begun, and not yet reported, without a decision",
            registry,
        )
        self.units = LabelledOverShards(
            sum,
            "flipside_units",
            "Units of running experiments, by why they show what they show",
            "why",
            WHYS,
            registry,
        )
        self.experiments = LabelledOverShards(
            max, "flipside_experiments", "Experiments by the state that they are in", "state", get_args(State), registry
        )
        self.ready = Gauge("flipside_ready", "1 while the probe /ready says so, else 0", registry=registry)
        self.clock_difference = Gauge(
            "flipside_clock_difference_seconds",
            "How far a part's clock is ahead of this worker's; beyond what the question's own duration explains",
            ["part"],
            registry=registry,
        )
        for part in CLOCKS:
            self.clock_difference.labels(part)
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
        self.inputs_read = Gauge(
            "flipside_input_partitions", "Partitions of an input that this worker reads", ["topic"], registry=registry
        )
        for topic in INPUTS:
            self.inputs_read.labels(topic)
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


#: verdict of a check -> what the metric of an experiment's check shows; what cannot be checked yet shows nothing
VERDICTS: dict[str, float] = {"pass": 0.0, "warn": 1.0, "fail": 2.0}


class AnalysisMetrics:
    """The meters of an analysis process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        Info("flipside_build", "Version of the running code", registry=registry).info({"version": version("flipside")})
        self.estimates = Counter(
            "flipside_estimates_published", "Estimates, by whether there was a number", ["outcome"], registry=registry
        )
        for outcome in ("number", "absent"):
            self.estimates.labels(outcome)
        self.watermark = Gauge(
            "flipside_estimate_watermark_timestamp_seconds",
            "Watermark of the latest estimate; no number before there is one",
            registry=registry,
        )
        self.watermark.set(math.nan)
        self.checks = Gauge(
            "flipside_health_checks",
            "Experiments by check and its last verdict, those published before this process started included",
            ["check", "verdict"],
            registry=registry,
        )
        self.check = Gauge(
            "flipside_health_check",
            "An experiment's check as it was published last: 0 pass, 1 warn, 2 fail",
            ["experiment", "check"],
            registry=registry,
        )
        self.ready = Gauge("flipside_ready", "1 while the probe /ready says so, else 0", registry=registry)
        self.lag = Gauge(
            "flipside_analysis_lag_records", "Records of all topics that are read, not yet folded", registry=registry
        )
        self._verdicts: dict[tuple[str, str], str] = {}
        self._newest = 0.0
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
        self.known(finding)

    def known(self, finding: Estimate | RunningSequence | Health) -> None:
        """Show the latest findings, those of an earlier process included."""
        if isinstance(finding, Estimate) and finding.watermark is not None:
            # What was published before comes in no order.
            self._newest = max(self._newest, finding.watermark.timestamp())
            self.watermark.set(self._newest)
        elif isinstance(finding, Health):
            self._judged(finding)

    def _judged(self, finding: Health) -> None:
        place = finding.experiment, finding.check
        held = self._verdicts.get(place)
        if held is not None:
            self.checks.labels(finding.check, held).dec()
        self.checks.labels(finding.check, finding.verdict).inc()
        self._verdicts[place] = finding.verdict
        if finding.verdict in VERDICTS:
            self.check.labels(*place).set(VERDICTS[finding.verdict])
        elif held in VERDICTS:
            self.check.remove(*place)
