"""What on-call sees of a shard: what is due, for how long, when the first lease runs out, what was decided."""

import math
from collections.abc import Container, Iterable, Sequence
from datetime import date, datetime, timedelta

from controller.decisions.decide import Decision
from streams.store import Outcome, plan_key
from streams.worker.metrics import Metrics
from streams.worker.services import Parts

#: the instant from which a market's next day may be decided
Waiting = datetime


def oversee(
    metrics: Metrics, shard: int, waiting: Sequence[Waiting], leases: Iterable[datetime], now: datetime
) -> None:
    """Show what a look at a shard has found.

    ``leases``: those that something is to follow are shown to their end and beyond, as a negative number: so long have
    their units lapsed.
    """
    metrics.due.set(shard, len(waiting))
    metrics.overdue.set(shard, max(((now - since).total_seconds() for since in waiting), default=0.0))
    metrics.lease.set(shard, min(((end - now).total_seconds() for end in leases), default=math.inf))


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
    metrics.undecided.drop(shard)
    metrics.units.drop(shard)
    metrics.experiments.drop(shard)


def count(parts: Parts, decision: Decision, outcome: Outcome, counted: Container[tuple[str, date]]) -> None:
    """Count and tell what became of a decision; ``counted``: missed days, by plan, that were counted as they began."""
    flips = parts.metrics.flips
    for name, number in (
        ("flipped", outcome.flips),
        ("blocked", outcome.blocked),
        ("repeated", outcome.repeated),
        ("withheld", len(outcome.withheld)),
    ):
        flips.labels(name).inc(number)
    flip = decision.flip
    plan = plan_key(flip.experiment, flip.experiment_version, decision.market)
    for message in decision.messages:
        days = [message.first_day + timedelta(days=k) for k in range((message.last_day - message.first_day).days + 1)]
        parts.metrics.undelivered.inc(sum((plan, day) not in counted for day in days))
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
