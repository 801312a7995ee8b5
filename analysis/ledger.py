"""The ledger: everything read from the assignment log and the panel, folded into unit-days that can be counted.

Order of arrival does not matter, nor does reading a record twice: rows and closings keep their highest revision,
assignments their highest (epoch, sequence), and all that is added up is integers. A unit-day is settled again only when
something that touches it was read.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import attrgetter

from analysis.study import Sold, State, Study
from controller.events import Assignment, PeriodClosed, Registered, UnitDay
from controller.periods import local_day, period
from controller.roster import roster
from controller.wire import Message, market_of

FOREVER = datetime.max.replace(tzinfo=UTC)

MarketDay = tuple[str, date]


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """One assignment, as far as it matters here: an arm over [effective_at, expires_at)."""

    effective_at: datetime
    epoch: int
    sequence: int
    id: str
    expires_at: datetime
    experiment: str
    version: int
    arm: str
    code: str


@dataclass(slots=True)
class Tally:
    """What was read of a market's day, to be held against what its closing promises."""

    rows: dict[str, Sold] = field(default_factory=dict)
    events: int = 0


class Ledger:
    """All unit-days, assignments, closings and experiments read so far."""

    def __init__(self) -> None:
        self.studies: dict[tuple[str, int], Study] = {}
        #: market -> day -> its latest closing
        self.closings: defaultdict[str, dict[date, PeriodClosed]] = defaultdict(dict)
        self._closed_through: dict[str, date] = {}
        self._tallies: defaultdict[MarketDay, Tally] = defaultdict(Tally)
        #: unit -> its assignments, by effective instant
        self._holds: defaultdict[str, list[Hold]] = defaultdict(list)
        #: market -> closed days whose rows have not all been read
        self._unmet: defaultdict[str, set[date]] = defaultdict(set)
        self._by_market: defaultdict[str, list[Study]] = defaultdict(list)

    def fold(self, message: Message) -> None:
        """Take a record in; kinds that say nothing about unit-days change nothing."""
        match message:
            case UnitDay():
                self._sold(message)
            case Assignment():
                self._assigned(message)
            case PeriodClosed():
                self._closed(message)
            case Registered():
                self._registered(message)
            case _:
                pass

    def _registered(self, message: Registered) -> None:
        experiment = message.experiment
        key = (experiment.name, experiment.version)
        if key in self.studies:
            return
        study = self.studies[key] = Study(roster(experiment), message.registered_at)
        for market in study.roster.units:
            self._by_market[market].append(study)

    def _assigned(self, message: Assignment) -> None:
        hold = Hold(
            effective_at=message.effective_at,
            epoch=message.epoch,
            sequence=message.sequence,
            id=message.id,
            expires_at=message.expires_at or FOREVER,
            experiment=message.experiment,
            version=message.experiment_version,
            arm=message.arm,
            code=message.reason.code,
        )
        holds = self._holds[message.unit]
        if not holds or holds[-1] < hold:
            holds.append(hold)
        else:
            at = bisect_right(holds, hold)
            if at and holds[at - 1] == hold:
                return
            holds.insert(at, hold)
        market = market_of(message.unit)
        for study in self._by_market.get(market, ()):
            study.unsettle_from(market, local_day(hold.effective_at, study.roster.time_zones[market]))

    def _sold(self, message: UnitDay) -> None:
        unit, day = message.unit, message.day
        market = market_of(unit)
        tally = self._tallies[market, day]
        held = tally.rows.get(unit)
        if held is not None:
            # A worker that died between publishing and noting it counts on under the same revision.
            if (held.revision, held.events) >= (message.revision, message.events):
                return
            tally.events -= held.events
        tally.rows[unit] = Sold(
            message.quantity, message.revenue_minor, message.cost_minor, message.events, message.revision
        )
        tally.events += message.events
        if day in self._unmet[market]:
            self._check(market, day)
        for study in self._by_market.get(market, ()):
            study.unsettle(market, day)

    def _closed(self, message: PeriodClosed) -> None:
        held = self.closings[message.market].get(message.day)
        if held is not None and _order(held) >= _order(message):
            return
        self.closings[message.market][message.day] = message
        self._closed_through[message.market] = max(self._closed_through.get(message.market, date.min), message.day)
        self._check(message.market, message.day)
        for study in self._by_market.get(message.market, ()):
            study.unsettle(message.market, message.day)

    def _check(self, market: str, day: date) -> None:
        """A closed day whose rows are not all here yet is waited for."""
        closing, tally = self.closings[market][day], self._tallies[market, day]
        met = len(tally.rows) >= closing.unit_days and tally.events >= closing.events
        (self._unmet[market].discard if met else self._unmet[market].add)(day)

    def waiting(self) -> dict[str, tuple[date, ...]]:
        """Market -> closed days that are held back because rows promised by their closing were not read yet."""
        return {market: tuple(sorted(days)) for market, days in sorted(self._unmet.items()) if days}

    def horizon(self, study: Study) -> date | None:
        """The last local day of an experiment that is closed, with all its rows, in all of its markets."""
        last = study.last_day
        for market in study.roster.units:
            unmet = self._unmet[market]
            closed = self._closed_through.get(market, date.min)
            if unmet and closed >= min(unmet):
                closed = max((day for day in self.closings[market] if day < min(unmet)), default=date.min)
            last = min(last, closed)
        return last if last >= study.first_day else None

    def settle(self, study: Study, through: date) -> None:
        """Write every unit-day up to ``through`` that is not settled into the experiment's arrays."""
        for market, day in study.unsettled(through, self._tallies.keys()):
            span = period(day, study.roster.time_zones[market])
            state = _state if day >= study.first_day else _state_before
            rows = self._tallies[market, day].rows if (market, day) in self._tallies else {}
            closing = self.closings[market].get(day)
            study.write(
                market,
                day,
                states=[
                    state(self._holds.get(unit, []), study, span.start, span.end) if span.exists else State.UNSETTLED
                    for unit in study.roster.units[market]
                ],
                sold=[rows.get(unit) for unit in study.roster.units[market]],
                revision=closing.revision if closing else 0,
            )

    def standing(self, study: Study, through: date) -> tuple[PeriodClosed, ...]:
        """The closing that stands on ``through`` in each market: that day's, or the last one before it."""
        found = []
        for market in sorted(study.roster.units):
            days = self.closings[market]
            if through in days:
                found.append(days[through])
            elif earlier := [day for day in days if day < through]:
                found.append(days[max(earlier)])
        return tuple(found)


def _order(closing: PeriodClosed) -> tuple[int, datetime]:
    """Which of two closings of a day stands: one published again after a crash has the same revision."""
    return closing.revision, closing.watermark


#: where an assignment holds over the day but not by the design's draw
_BY_CODE: dict[str, State] = {
    "blackout": State.BLACKOUT,
    "released": State.RELEASED,
    "limit": State.LIMIT,
    "dropped": State.DROPPED,
}

_effective = attrgetter("effective_at")


def _state(holds: list[Hold], study: Study, start: datetime, end: datetime) -> int:
    """The arm (index) that one assignment of this experiment gave a unit over the whole of [start, end), or a State."""
    at = bisect_right(holds, start, key=_effective)
    for later in holds[at:]:
        if later.effective_at >= end:
            break
        return State.PARTIAL
    if at == 0:
        return State.UNDELIVERED
    hold = holds[at - 1]
    if hold.expires_at <= start or (hold.experiment, hold.version) != study.key:
        return State.UNDELIVERED
    if hold.expires_at < end:
        return State.PARTIAL
    return _BY_CODE.get(hold.code) or study.arms.get(hold.arm, State.UNDELIVERED)


def _state_before(holds: list[Hold], study: Study, start: datetime, end: datetime) -> int:
    """Whether a unit sold at list price over the whole of [start, end), a day before the experiment began."""
    at = bisect_right(holds, start, key=_effective)
    overlapping = [hold for hold in holds[max(at - 1, 0) :] if hold.effective_at < end and hold.expires_at > start]
    free = all(hold.code == "released" for hold in overlapping)
    return State.PRE_PERIOD if free else State.OTHER_EXPERIMENT
