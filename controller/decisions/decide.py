"""The front door: what to do about an experiment, given what time it is. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache

from controller.decisions.roster import Roster
from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.definition.parameters import Triggered
from controller.designs import design_of
from controller.designs.design import Block
from controller.designs.entries import Entry
from controller.designs.triggered import arms_entered
from controller.messages.events import ReasonCode, Undelivered
from controller.messages.inputs import CatalogEntry
from controller.schedule.due import Due, MarketPlan, due
from controller.time.periods import Period, local_day, period, period_at

#: the block of a release: none of the design's
RELEASE = Block(-1, date.max, date.max)


@dataclass(frozen=True, slots=True)
class Proposal:
    """The arm that the draw asks for one unit. The store grants it, or keeps the old arm and says why."""

    unit: str
    cluster: str
    arm: int
    #: price of each arm in minor units, in the order of the arms; None where the list price is not known
    prices_minor: tuple[int | None, ...]
    #: what the draw asked for, where a limit has put control in its place
    planned_arm: int | None = None
    #: why ``arm`` differs from ``planned_arm``, or why a release is urgent
    detail: str = ""
    #: the rule that has put ``arm`` in the place of ``planned_arm``
    code: ReasonCode = "limit"


@dataclass(frozen=True, slots=True)
class Flip:
    """All proposals of one experiment for one local day of one market: they take effect at the same instant."""

    experiment: str
    experiment_version: int
    design_hash: str
    market: str
    block: int
    day: date
    arms: tuple[str, ...]
    currency: str
    effective_at: datetime
    #: end of the lease of a granted arm; None when units are released to control
    expires_at: datetime | None
    #: end of the lease of an arm that is kept because a rule forbids the change: the next boundary
    keep_until: datetime
    decided_at: datetime
    proposals: tuple[Proposal, ...]
    #: effective as soon as it is written, over what was decided for this day: a kill, or a delayed start
    urgent: bool = False

    @property
    def is_release(self) -> bool:
        """Whether its units go back to control: for good, so without a lease."""
        return self.expires_at is None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do in one market, what its plan is once that is done, and why."""

    market: str
    state: MarketPlan
    flip: Flip
    messages: tuple[Undelivered, ...]
    reason: str


def decide(
    roster: Roster,
    plans: Mapping[str, MarketPlan],
    now: datetime,
    catalog: Mapping[str, CatalogEntry],
    entries: Sequence[Entry] = (),
) -> Iterator[Decision]:
    """Decide the next local day of each market in ``plans``; a market where nothing is due yields nothing.

    ``catalog`` only prices the arms, as far as the units are known. O(units of the due markets), and once for all
    markets the draw of a block: O(clusters log clusters). ``entries`` are those of a triggered design, of any market;
    without any nobody has entered. Other designs have no use for them.
    """
    experiment, design = roster.experiment, design_of(roster.experiment)
    drawn: dict[int, Mapping[str, int]] = {}
    for market, plan in sorted(plans.items()):
        zone = roster.time_zones[market]
        upcoming = due(experiment, zone, plan, now, roster.stopped)
        if upcoming is None:
            continue
        day = upcoming.period.day
        block = RELEASE if upcoming.release else design.block_on(experiment, day)
        if block is None:
            raise AssertionError(f"day {day} of {experiment.name} is due but in no block")
        if isinstance(experiment.design, Triggered) and not upcoming.release:
            # Markets may begin the same day at different instants.
            drawn[block.index] = arms_entered(experiment, entries, day, upcoming.period.start)
        elif block.index not in drawn:
            drawn[block.index] = (
                dict.fromkeys(roster.clusters, 0)
                if upcoming.release
                else _dealt(_Draw(roster.design_hash, experiment.seed, block, experiment))
            )
        yield Decision(
            market=market,
            # A release is done once every unit has let go: `settled` takes it back where a blackout held some.
            state=MarketPlan(decided_through=day, released=upcoming.release),
            flip=_flip(
                roster,
                market,
                _Arms(roster.units[market], drawn[block.index], block.index),
                upcoming.period,
                now,
                catalog,
                effective_at=upcoming.period.start,
                expires_at=None if upcoming.release else period(block.end, zone).start,
            ),
            messages=_undelivered(roster, market, upcoming, now),
            reason="the experiment is over" if upcoming.release else f"block {block.index} begins or goes on on {day}",
        )


@dataclass(frozen=True, slots=True)
class _Draw:
    """A draw by what it depends on: the design hash stands for the definition, but knows the seed by its hash only."""

    design_hash: str
    seed: str
    block: Block
    experiment: Experiment = field(compare=False)


@lru_cache(maxsize=8)
def _dealt(draw: _Draw) -> Mapping[str, int]:
    """The arms of a block. The shards of a worker ask one after the other, each for all clusters."""
    return design_of(draw.experiment).arms(draw.experiment, draw.block)


def settled(decision: Decision, kept: int) -> MarketPlan:
    """The plan after the store's word: a release that left ``kept`` units on their arm is tried again the next day."""
    return replace(decision.state, released=False) if kept else decision.state


def release_now(roster: Roster, market: str, now: datetime, catalog: Mapping[str, CatalogEntry]) -> Flip:
    """Control prices at once, in one market: what a kill or a breached guardrail asks for.

    The one decision that does not wait for a boundary. It has no lease, because control needs none.
    """
    today = period_at(now, roster.time_zones[market])
    arms = _Arms(roster.units[market], dict.fromkeys(roster.clusters, 0), RELEASE.index)
    return _flip(roster, market, arms, today, now, catalog, effective_at=now, expires_at=None, urgent=True)


def starts(
    roster: Roster, entry: Entry, plan: MarketPlan, now: datetime, catalog: Mapping[str, CatalogEntry]
) -> tuple[Flip, ...] | None:
    """The start of an entry that does not wait for a boundary: its lease ends with the local day.

    A day after it that was given out already is given out again, because what is urgent takes its place. None while
    the arms of the entry's first day are not given out yet; nothing where that day is over: the next one had it.
    """
    if plan.decided_through is None or plan.decided_through < entry.first_day:
        return None
    at = max(entry.starts_at, now)
    zone = roster.time_zones[entry.market]
    if local_day(at, zone) > entry.first_day:
        return ()
    last = min(plan.decided_through, entry.end_day - timedelta(days=1))
    later = [entry.first_day + timedelta(days=k) for k in range(1, (last - entry.first_day).days + 1)]
    begins = (at, *(span.start for span in (period(day, zone) for day in later) if span.exists))
    return tuple(_start(roster, entry, instant, now, catalog) for instant in begins)


def _start(roster: Roster, entry: Entry, at: datetime, now: datetime, catalog: Mapping[str, CatalogEntry]) -> Flip:
    units = tuple(unit for unit in roster.units_of[entry.cluster] if market_of(unit) == entry.market)
    day = period_at(at, roster.time_zones[entry.market])
    block = design_of(roster.experiment).block_on(roster.experiment, day.day)
    if block is None:
        raise AssertionError(f"entry {entry.trigger} starts outside {roster.experiment.name}")
    arms = _Arms(units, {entry.cluster: entry.arm}, block.index)
    return _flip(roster, entry.market, arms, day, now, catalog, effective_at=at, expires_at=day.end, urgent=True)


@dataclass(frozen=True, slots=True)
class _Arms:
    """Which units of a market flip, and to what."""

    units: tuple[str, ...]
    #: index of the arm of each of their clusters
    of_cluster: Mapping[str, int]
    block: int


def _pricing(experiment: Experiment, catalog: Mapping[str, CatalogEntry]) -> Callable[[str], tuple[int | None, ...]]:
    """Unit -> the price of each arm. Many units share a list price, and decimal arithmetic is slow: each once."""
    rules = tuple(arm.price for arm in experiment.arms)
    known: dict[int, tuple[int | None, ...]] = {}
    unknown: tuple[int | None, ...] = (None,) * len(rules)

    def prices(unit: str) -> tuple[int | None, ...]:
        entry = catalog.get(unit)
        if entry is None:
            return unknown
        listed = entry.list_price_minor
        if listed not in known:
            known[listed] = tuple(rule.price_minor(listed) for rule in rules)
        return known[listed]

    return prices


def _flip(
    roster: Roster,
    market: str,
    arms: _Arms,
    day: Period,
    now: datetime,
    catalog: Mapping[str, CatalogEntry],
    *,
    effective_at: datetime,
    expires_at: datetime | None,
    urgent: bool = False,
) -> Flip:
    """The flip of units within a local day: ``effective_at`` is its start, or later where that is urgent."""
    experiment = roster.experiment
    prices = _pricing(experiment, catalog)
    return Flip(
        experiment=experiment.name,
        experiment_version=experiment.version,
        design_hash=roster.design_hash,
        market=market,
        block=arms.block,
        day=day.day,
        arms=tuple(arm.name for arm in experiment.arms),
        currency=experiment.currency,
        effective_at=effective_at,
        expires_at=expires_at,
        keep_until=day.end,
        decided_at=now,
        proposals=tuple(
            Proposal(unit, cluster, arms.of_cluster[cluster], prices(unit))
            for unit in arms.units
            for cluster in (roster.cluster_of[unit],)
        ),
        urgent=urgent,
    )


def _undelivered(roster: Roster, market: str, upcoming: Due, now: datetime) -> tuple[Undelivered, ...]:
    if upcoming.missed is None:
        return ()
    first, last = upcoming.missed
    experiment = roster.experiment
    return (
        Undelivered(
            id=f"{experiment.plan_name}/{market}/{first}/undelivered",
            experiment=experiment.name,
            experiment_version=experiment.version,
            market=market,
            first_day=first,
            last_day=last,
            reason="no decision was made before these days began",
            decided_at=now,
        ),
    )
