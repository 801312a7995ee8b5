"""Enrolment: which trigger starts a cluster, when, and with which arm. The coin was tossed before the event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from controller.decisions.triggers import QUORUM_WINDOW, quorum_reached
from controller.definition.experiment import Experiment, design_hash
from controller.definition.parameters import Triggered
from controller.designs.entries import Entry
from controller.messages.control import Entered, TriggerFired, TriggerIgnored
from controller.randomisation.hash_scores import coin
from controller.time.periods import day_start, local_day, period_at

Why = Literal["stale", "not_running", "quorum", "frozen", "window", "running", "cool_down", "not_quiet", "cap"]
#: an answered trigger is remembered for so much longer than it could start anything
REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ClusterEntries:
    """What a market's owner knows of the entries of one cluster."""

    entries: tuple[Entry, ...] = ()
    #: when the latest trigger was observed, whether it started anything or not
    last_trigger: datetime | None = None
    #: triggers that were answered -> when they were observed; older ones would start nothing anyway
    seen: Mapping[str, datetime] = field(default_factory=dict)
    #: unit -> when its rule last fired: what a quorum is counted from
    fired: Mapping[str, datetime] = field(default_factory=dict)
    #: the latest entry begins within a day, and its units were not told yet
    starting: bool = False


NOBODY = ClusterEntries()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What one market knows of its entries."""

    clusters: Mapping[str, ClusterEntries] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those of all clusters."""
        return tuple(entry for known in self.clusters.values() for entry in known.entries)

    def of(self, cluster: str) -> ClusterEntries:
        return self.clusters.get(cluster, NOBODY)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trigger with all that the rules look at."""

    experiment: Experiment
    design: Triggered
    enrolment: Enrolment
    trigger: TriggerFired
    now: datetime
    #: why nobody may enter at present; empty where somebody may
    closed: str
    frozen: bool
    #: units of the trigger's cluster
    units: int
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
    closed: str = "",
    frozen: bool = False,
    units: int = 1,
    undecided: date | None = None,
    known_hash: str | None = None,
) -> Admission:
    """Answer one trigger: an entry, or the first rule that forbids it. A trigger that was answered changes nothing.

    ``closed``: why no cluster may enter at present, such as a pause. ``units``: how many the trigger's cluster has.
    ``undecided``: the first local day whose arms are not given out yet; an entry at a boundary begins no sooner.
    ``known_hash``: the experiment's `design_hash`, where it is at hand: it takes a walk over all units.
    """
    design = experiment.design
    assert isinstance(design, Triggered)
    known = enrolment.of(trigger.cluster)
    if trigger.id in known.seen or any(entry.trigger == trigger.id for entry in known.entries):
        return Admission(enrolment, None, None)
    time_zone = experiment.time_zones()[trigger.market]
    starts_at, first_day = _start(experiment, design, trigger, now, time_zone, undecided)
    end_day = min(first_day + timedelta(days=design.treatment_days), experiment.end)
    heard = _heard(design, known, trigger, now)
    # The rules look at the units that have fired by now, but at the quiet before this trigger.
    judged = replace_cluster(enrolment, trigger.cluster, replace(heard, last_trigger=known.last_trigger))
    candidate = Candidate(
        experiment, design, judged, trigger, now, closed, frozen, units, time_zone, starts_at, first_day, end_day
    )
    for why, rule in RULES.items():
        broken = rule(candidate)
        if broken is not None:
            # Too few units of a cluster are no trigger of it yet, so they do not disturb its quiet.
            heard = replace(heard, last_trigger=known.last_trigger) if why == "quorum" else heard
            ignored = _ignored(trigger, why, broken, now)
            return Admission(replace_cluster(enrolment, trigger.cluster, heard), None, ignored)
    ordinal = len(known.entries)
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
    within_a_day = starts_at > day_start(first_day, time_zone)
    entered_now = replace(heard, entries=(*heard.entries, entry), starting=within_a_day)
    message = entered(experiment, entry, now, known_hash or design_hash(experiment))
    return Admission(replace_cluster(enrolment, trigger.cluster, entered_now), entry, message)


def replace_cluster(enrolment: Enrolment, cluster: str, known: ClusterEntries) -> Enrolment:
    """The enrolment with something new about one cluster."""
    return Enrolment({**enrolment.clusters, cluster: known})


def _heard(design: Triggered, known: ClusterEntries, trigger: TriggerFired, now: datetime) -> ClusterEntries:
    """The state of a cluster after a trigger of it was received, whatever the answer."""
    keep = timedelta(minutes=design.max_staleness_minutes) + REMEMBERED
    at, last = trigger.observed_at, known.last_trigger
    fired = {**known.fired, trigger.unit: max(at, known.fired.get(trigger.unit, at))} if design.per == "cluster" else {}
    latest = max(fired.values(), default=at)
    return replace(
        known,
        last_trigger=at if last is None else max(last, at),
        seen={**{id: then for id, then in known.seen.items() if now - then <= keep}, trigger.id: at},
        fired={unit: then for unit, then in fired.items() if then > latest - QUORUM_WINDOW},
    )


def _start(
    experiment: Experiment,
    design: Triggered,
    trigger: TriggerFired,
    now: datetime,
    time_zone: str,
    undecided: date | None,
) -> tuple[datetime, date]:
    """The first instant and local day of an entry: ahead by the lead time, at a boundary unless a delay is stated."""
    if design.delay_minutes is not None:
        starts_at = max(now, trigger.observed_at + timedelta(minutes=design.delay_minutes))
        return starts_at, local_day(starts_at, time_zone)
    soonest = now + experiment.lead
    boundary = period_at(soonest, time_zone)
    starts_at = boundary.start if boundary.start == soonest else boundary.end
    if undecided is not None:
        starts_at = max(starts_at, day_start(undecided, time_zone))
    return starts_at, local_day(starts_at, time_zone)


# --- the rules, in the order in which they are asked: each says why not, or None ------------------------------------


def _stale(c: Candidate) -> str | None:
    age, most = c.now - c.trigger.observed_at, timedelta(minutes=c.design.max_staleness_minutes)
    return f"{age} old, at most {most}" if age > most else None


def _not_running(c: Candidate) -> str | None:
    return c.closed or None


def _quorum(c: Candidate) -> str | None:
    fired = c.enrolment.of(c.trigger.cluster).fired
    latest = max(fired.values(), default=c.trigger.observed_at)
    if c.design.per == "unit" or quorum_reached(c.design, fired, c.units, latest):
        return None
    return f"{len(fired)} of the cluster's {c.units} units within a day; a share of {c.design.quorum} starts it"


def _frozen(c: Candidate) -> str | None:
    return "enrolment is frozen" if c.frozen else None


def _window(c: Candidate) -> str | None:
    days = c.design.enrolment_days or c.experiment.days
    last = min(c.experiment.start + timedelta(days=days), c.experiment.end)
    if c.experiment.start <= c.first_day < last:
        return None
    return f"it would begin on {c.first_day}; entries begin from {c.experiment.start} until before {last}"


def _running(c: Candidate) -> str | None:
    hit = next((e for e in c.enrolment.of(c.trigger.cluster).entries if c.first_day < e.end_day), None)
    return None if hit is None else f"its entry of {hit.first_day} lasts until {hit.end_day}"


def _cool_down(c: Candidate) -> str | None:
    ended = max((e.end_day for e in c.enrolment.of(c.trigger.cluster).entries), default=None)
    if ended is None or c.first_day >= ended + timedelta(days=c.design.cool_down_days):
        return None
    return f"its last entry ended on {ended}; {c.design.cool_down_days} days of cool-down"


def _not_quiet(c: Candidate) -> str | None:
    quiet = timedelta(days=c.design.quiet_days)
    moved = c.enrolment.of(c.trigger.cluster).last_trigger
    if moved is not None and abs(c.trigger.observed_at - moved) < quiet:
        return (
            f"a rival moved at {moved}; only the first trigger after {c.design.quiet_days} quiet days is randomisable"
        )
    ends = [day_start(e.end_day, c.time_zone) for e in c.enrolment.of(c.trigger.cluster).entries]
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
    "not_running": _not_running,
    "quorum": _quorum,
    "frozen": _frozen,
    "window": _window,
    "running": _running,
    "cool_down": _cool_down,
    "not_quiet": _not_quiet,
    "cap": _cap,
}


def unanswerable(trigger: TriggerFired, why: str, now: datetime) -> TriggerIgnored:
    """The answer to a trigger of an experiment or cluster that is not there."""
    return _ignored(trigger, "not_running", why, now)


def _ignored(trigger: TriggerFired, why: Why, detail: str, now: datetime) -> TriggerIgnored:
    return TriggerIgnored(
        id=f"{trigger.id}/ignored",
        experiment=trigger.experiment,
        experiment_version=trigger.experiment_version,
        market=trigger.market,
        cluster=trigger.cluster,
        trigger=trigger.id,
        triggered_at=trigger.observed_at,
        reason=why,
        detail=detail,
        decided_at=now,
    )


def entered(experiment: Experiment, entry: Entry, now: datetime, known_hash: str) -> Entered:
    """The record of an entry."""
    return Entered(
        id=f"{entry.trigger}/entry",
        experiment=experiment.name,
        experiment_version=experiment.version,
        design_hash=known_hash,
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
