"""What on-call sees of a shard: what is due, for how long, when the first lease runs out, what was decided."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from controller.decisions.decide import Decision
from streams.store import Outcome
from streams.worker.metrics import Metrics
from streams.worker.services import Parts

#: the instant from which a market's next day may be decided
Waiting = datetime


def oversee(
    metrics: Metrics, shard: int, waiting: Sequence[Waiting], leases: Iterable[datetime], now: datetime
) -> None:
    """Show what a look at a shard has found; a lease that is over already is no lease."""
    metrics.due.set(shard, len(waiting))
    metrics.overdue.set(shard, max(((now - since).total_seconds() for since in waiting), default=0.0))
    left = (end - now for end in leases if end > now)
    metrics.lease.set(shard, min((seconds.total_seconds() for seconds in left), default=math.inf))


def unseen(metrics: Metrics, shard: int) -> None:
    """The shard is another worker's."""
    for gauge in (
        metrics.outbox_depth,
        metrics.outbox_age,
        metrics.due,
        metrics.overdue,
        metrics.lease,
        metrics.suspended,
    ):
        gauge.drop(shard)


def count(parts: Parts, decision: Decision, outcome: Outcome) -> None:
    """Count and tell what became of a decision."""
    flips = parts.metrics.flips
    for name, number in (
        ("flipped", outcome.flips),
        ("blocked", outcome.blocked),
        ("repeated", outcome.repeated),
        ("withheld", len(outcome.withheld)),
    ):
        flips.labels(name).inc(number)
    for message in decision.messages:
        parts.metrics.undelivered.inc((message.last_day - message.first_day).days + 1)
    parts.log.debug(
        "decided",
        experiment=decision.flip.experiment,
        market=decision.market,
        day=str(decision.flip.day),
        flips=outcome.flips,
        blocked=outcome.blocked,
        repeated=outcome.repeated,
        withheld=len(outcome.withheld),
        reason=decision.reason,
    )
