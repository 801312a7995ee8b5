"""Enrolment: which trigger starts a cluster, when, and with which arm. The coin was tossed before the event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from controller.assignment import coin
from controller.control import Entered, TriggerFired, TriggerIgnored
from controller.entries import Entry
from controller.experiment import Experiment, design_hash
from controller.parameters import Triggered
from controller.periods import day_start, local_day, period_at

Why = Literal["stale", "frozen", "window", "running", "cool_down", "not_quiet", "cap"]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What one market knows of its entries."""

    entries: tuple[Entry, ...] = ()
    #: cluster -> when the latest trigger was observed, whether it started anything or not
    last_trigger: Mapping[str, datetime] = field(default_factory=dict)
    #: triggers that were answered
    seen: frozenset[str] = frozenset()

    def of(self, cluster: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.cluster == cluster)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trigger with all that the rules look at."""

    experiment: Experiment
    design: Triggered
    enrolment: Enrolment
    trigger: TriggerFired
    now: datetime
    frozen: bool
    time_zone: str
    starts_at: datetime
    first_day: date
    end_day: date


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a trigger."""

    enrolment: Enrolment
    entry: Entry | None
    message: Entered | TriggerIgnored | None


def admit(
    experiment: Experiment,
    enrolment: Enrolment,
    trigger: TriggerFired,
    now: datetime,
    *,
    frozen: bool = False,
) -> Admission:
    """Answer one trigger: an entry, or the first rule that forbids it. A trigger that was answered changes nothing."""
    assert isinstance(experiment.design, Triggered)
    if trigger.id in enrolment.seen:
        return Admission(enrolment, None, None)
    time_zone = experiment.time_zones()[trigger.market]
    starts_at, first_day = _start(experiment, experiment.design, trigger, now, time_zone)
    end_day = min(first_day + timedelta(days=experiment.design.treatment_days), experiment.end)
    candidate = Candidate(
        experiment, experiment.design, enrolment, trigger, now, frozen, time_zone, starts_at, first_day, end_day
    )
    known = enrolment.last_trigger.get(trigger.cluster, trigger.observed_at)
    heard = replace(
        enrolment,
        seen=enrolment.seen | {trigger.id},
        last_trigger={**enrolment.last_trigger, trigger.cluster: max(known, trigger.observed_at)},
    )
    for why, rule in RULES.items():
        broken = rule(candidate)
        if broken is not None:
            return Admission(heard, None, _ignored(experiment, trigger, why, broken, now))
    ordinal = len(enrolment.of(trigger.cluster))
    entry = Entry(
        cluster=trigger.cluster,
        market=trigger.market,
        ordinal=ordinal,
        arm=coin(experiment.seed, experiment.name, trigger.cluster, ordinal, experiment.shares()),
        trigger=trigger.id,
        triggered_at=trigger.observed_at,
        starts_at=starts_at,
        first_day=first_day,
        end_day=end_day,
    )
    return Admission(replace(heard, entries=(*heard.entries, entry)), entry, entered(experiment, entry, now))


def _start(
    experiment: Experiment, design: Triggered, trigger: TriggerFired, now: datetime, time_zone: str
) -> tuple[datetime, date]:
    """The first instant and local day of an entry: ahead by the lead time, at a boundary unless a delay is stated."""
    soonest = now + experiment.lead
    if design.delay_minutes is not None:
        starts_at = max(now, trigger.observed_at + timedelta(minutes=design.delay_minutes))
        return starts_at, local_day(starts_at, time_zone)
    boundary = period_at(soonest, time_zone)
    starts_at = boundary.start if boundary.start == soonest else boundary.end
    return starts_at, local_day(starts_at, time_zone)


# --- the rules, in the order in which they are asked: each says why not, or None ------------------------------------


def _stale(c: Candidate) -> str | None:
    age, most = c.now - c.trigger.observed_at, timedelta(minutes=c.design.max_staleness_minutes)
    return f"{age} old, at most {most}" if age > most else None


def _frozen(c: Candidate) -> str | None:
    return "enrolment is frozen" if c.frozen else None


def _window(c: Candidate) -> str | None:
    days = c.design.enrolment_days or c.experiment.days
    last = min(c.experiment.start + timedelta(days=days), c.experiment.end)
    if c.experiment.start <= c.first_day < last:
        return None
    return f"it would begin on {c.first_day}; entries begin from {c.experiment.start} until before {last}"


def _running(c: Candidate) -> str | None:
    hit = next((e for e in c.enrolment.of(c.trigger.cluster) if c.first_day < e.end_day), None)
    return None if hit is None else f"its entry of {hit.first_day} lasts until {hit.end_day}"


def _cool_down(c: Candidate) -> str | None:
    ended = max((e.end_day for e in c.enrolment.of(c.trigger.cluster)), default=None)
    if ended is None or c.first_day >= ended + timedelta(days=c.design.cool_down_days):
        return None
    return f"its last entry ended on {ended}; {c.design.cool_down_days} days of cool-down"


def _not_quiet(c: Candidate) -> str | None:
    quiet = timedelta(days=c.design.quiet_days)
    moved = c.enrolment.last_trigger.get(c.trigger.cluster)
    if moved is not None and abs(c.trigger.observed_at - moved) < quiet:
        return (
            f"a rival moved at {moved}; only the first trigger after {c.design.quiet_days} quiet days is randomisable"
        )
    ends = [day_start(e.end_day, c.time_zone) for e in c.enrolment.of(c.trigger.cluster)]
    if ends and c.trigger.observed_at < max(ends) + quiet:
        return f"its last entry ended at {max(ends)}; {c.design.quiet_days} quiet days must pass"
    return None


def _cap(c: Candidate) -> str | None:
    if c.design.max_concurrent is None:
        return None
    mine = [e for e in c.enrolment.entries if e.market == c.trigger.market]
    at_once = sum(e.first_day < c.end_day and c.first_day < e.end_day for e in mine)
    return f"{at_once} entries run in {c.trigger.market}" if at_once >= c.design.max_concurrent else None


RULES: dict[Why, Callable[[Candidate], str | None]] = {
    "stale": _stale,
    "frozen": _frozen,
    "window": _window,
    "running": _running,
    "cool_down": _cool_down,
    "not_quiet": _not_quiet,
    "cap": _cap,
}


def _ignored(experiment: Experiment, trigger: TriggerFired, why: Why, detail: str, now: datetime) -> TriggerIgnored:
    return TriggerIgnored(
        id=f"{trigger.id}/ignored",
        experiment=experiment.name,
        experiment_version=experiment.version,
        market=trigger.market,
        cluster=trigger.cluster,
        trigger=trigger.id,
        reason=why,
        detail=detail,
        decided_at=now,
    )


def entered(experiment: Experiment, entry: Entry, now: datetime) -> Entered:
    """The record of an entry."""
    return Entered(
        id=f"{entry.trigger}/entry",
        experiment=experiment.name,
        experiment_version=experiment.version,
        design_hash=design_hash(experiment),
        market=entry.market,
        cluster=entry.cluster,
        ordinal=entry.ordinal,
        arm=experiment.arms[entry.arm].name,
        trigger=entry.trigger,
        triggered_at=entry.triggered_at,
        starts_at=entry.starts_at,
        first_day=entry.first_day,
        end_day=entry.end_day,
        decided_at=now,
    )


def entry_of(experiment: Experiment, record: Entered) -> Entry:
    """The entry that a record tells of."""
    return Entry(
        cluster=record.cluster,
        market=record.market,
        ordinal=record.ordinal,
        arm=[arm.name for arm in experiment.arms].index(record.arm),
        trigger=record.trigger,
        triggered_at=record.triggered_at,
        starts_at=record.starts_at,
        first_day=record.first_day,
        end_day=record.end_day,
    )
