"""What is due: which local day of a market must be decided now, and which days were missed."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from controller.definition.experiment import Experiment
from controller.time.periods import Period, local_day, period, period_at


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """How far a market's decisions for one experiment have got."""

    #: the last local day that was decided; None before the first
    decided_through: date | None = None
    #: every unit is back on control after the end
    released: bool = False

    @property
    def holds(self) -> bool:
        """Whether units of the market may be on another arm than control, and have not been let go."""
        return self.decided_through is not None and not self.released


@dataclass(frozen=True, slots=True)
class Due:
    """A local day to be decided now, strictly before it begins."""

    period: Period
    #: the experiment is over on this day: units go back to control
    release: bool
    #: first and last of the days before it that were never decided, if any
    missed: tuple[date, date] | None


def due(experiment: Experiment, time_zone: str, plan: MarketPlan, now: datetime, stopped: bool = False) -> Due | None:
    """The next local day of a market, once ``now`` is within the lead time of its first instant.

    Only a day that has not begun can be due: after downtime the schedule goes on with the next boundary, and the days
    in between are reported as missed, never replayed late. A ``stopped`` experiment only releases.
    """
    if plan.released:
        return None
    boundary = period_at(now, time_zone).end
    if now < boundary - experiment.lead:
        return None
    upcoming = period(local_day(boundary, time_zone), time_zone)
    day = upcoming.day
    if day < experiment.start or (plan.decided_through is not None and day <= plan.decided_through):
        return None
    following = experiment.start if plan.decided_through is None else plan.decided_through + timedelta(days=1)
    last_missed = min(day, experiment.end) - timedelta(days=1)
    skipped = (following, last_missed) if following <= last_missed else None
    missed = skipped if skipped and any_exists(skipped, time_zone) else None
    return Due(upcoming, release=stopped or day >= experiment.end, missed=missed)


def any_exists(days: tuple[date, date], time_zone: str) -> bool:
    """Whether any local day of a closed range exists in the zone."""
    first, last = days
    return any(period(first + timedelta(days=k), time_zone).exists for k in range((last - first).days + 1))
