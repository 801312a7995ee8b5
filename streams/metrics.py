"""What Prometheus sees. Labels are closed sets: no unit, market or experiment is ever one."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from controller.events import Estimate


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
        self.flips = Counter("flipside_flips", "Proposals decided, by outcome", ["outcome"], registry=registry)
        self.undelivered = Counter(
            "flipside_undelivered_market_days", "Days for which no decision was in time", registry=registry
        )
        self.fenced = Counter(
            "flipside_fenced", "Writes refused because a newer owner holds the shard", registry=registry
        )
        self.waits = Counter("flipside_waits", "Turns of a duty that ended in waiting", ["duty"], registry=registry)
        self.shards_owned = Gauge("flipside_shards_owned", "Shards that this worker decides for", registry=registry)
        self.outbox_depth = Gauge(
            "flipside_outbox_entries", "Outbox entries read but not yet acknowledged", registry=registry
        )
        self.unit_days = Counter(
            "flipside_unit_days_published", "Panel rows published, by kind", ["kind"], registry=registry
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

    def saw(self, estimate: Estimate) -> None:
        """Count an estimate that was published."""
        self.estimates.labels("absent" if estimate.absolute is None else "number").inc()
        if estimate.watermark is not None:
            self.watermark.set(estimate.watermark.timestamp())
