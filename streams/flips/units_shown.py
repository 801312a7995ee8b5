"""What the units of a shard show, and why: assigned, control, in a blackout, or lapsed because nobody decided.

Units are read from the store some hundred at a time, seldom, and by a duty of its own: a flip waits for none of it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from controller.decisions.lifecycle import Lifecycle
from controller.decisions.roster import Roster
from controller.definition.field_types import from_milliseconds, milliseconds
from controller.errors import CannotReach
from controller.messages.inputs import Blackout
from controller.schedule.blackout import binding
from controller.time.periods import Period, local_day, period
from streams.control.overrides import holds_back
from streams.flips.market_state import markets_of
from streams.flips.shard import Shard, key_of_plan
from streams.store.restore_port import HeldUnit
from streams.worker.metrics import WHYS, Why
from streams.worker.services import Parts

#: pause after an owner's first count, which may find a store that is not up to date yet; the next is twice as long
FIRST_PAUSE_SECONDS = 1.0
#: pause between two counts, and how much longer than a count it is at least. Not longer than the second: what lapsed is
#: known within a minute.
PAUSE_SECONDS, MOST_PAUSE_SECONDS = 10.0, 40.0
PAUSE_IN_COUNTS = 100.0
#: markets and experiments that a log line names
NAMED = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """A unit of an experiment that runs today in its market."""

    owner: str
    roster: Roster
    market: str
    today: Period


@dataclass(slots=True)
class Seen:
    """What a count has found."""

    why: dict[str, Why] = field(default_factory=dict)
    #: of the units that lapsed: since when, the earliest; the markets and the experiments
    since: datetime | None = None
    markets: set[str] = field(default_factory=set)
    experiments: set[str] = field(default_factory=set)

    def count(self) -> Mapping[Why, int]:
        found = Counter(self.why.values())
        return {why: found[why] for why in WHYS}

    def lapsed(self, unit: str, expected: Expected, since: datetime) -> None:
        self.why[unit] = "lapsed"
        self.since = since if self.since is None else min(self.since, since)
        self.markets.add(expected.market)
        self.experiments.add(expected.roster.experiment.name)


def running_markets(
    rosters: Iterable[tuple[Roster, Lifecycle]], shard: Shard, parts: Parts, now: datetime
) -> Iterator[tuple[Roster, str, Period]]:
    """The markets of a shard in which an experiment is to show its arms today, with the local day."""
    for laid_out, lived in rosters:
        experiment = laid_out.experiment
        for market in markets_of(parts, shard, laid_out):
            if holds_back(lived, shard.kills, market):
                continue
            day = local_day(now, laid_out.time_zones[market])
            if experiment.start <= day < experiment.end:
                yield laid_out, market, period(day, laid_out.time_zones[market])


def undecided(running: Iterable[tuple[Roster, str, Period]], shard: Shard) -> Iterator[tuple[str, date]]:
    """The market-days up to today, by plan, that began without a decision, and that none has been reported for yet."""
    for laid_out, market, today in running:
        plan = shard.plan(laid_out, market)
        through = plan.decided_through
        day = laid_out.experiment.start if through is None else through + timedelta(days=1)
        while day <= today.day:
            if period(day, laid_out.time_zones[market]).exists:
                yield key_of_plan(laid_out, market), day
            day += timedelta(days=1)


def judged(
    held: HeldUnit, expected: Expected, before: Why | None, windows: Sequence[Blackout], now: datetime, seen: Seen
) -> None:
    """Note why a unit shows what it shows, by what it was last granted. Pure but for ``seen``."""
    if held.owner != expected.owner:
        return  # another experiment's, or none's any more: it is not this one's to show
    now_ms = milliseconds(now)
    if held.effective_ms > now_ms:  # tomorrow's: what holds today is what was seen before it
        if before == "lapsed":
            seen.lapsed(held.unit, expected, expected.today.start)
        else:
            seen.why[held.unit] = before or "unknown"
        return
    if held.expires_ms and held.expires_ms <= now_ms:
        seen.lapsed(held.unit, expected, from_milliseconds(held.expires_ms))
    elif windows and binding(windows, held.unit, expected.roster.cluster_of[held.unit], now) is not None:
        seen.why[held.unit] = "blackout"
    else:
        seen.why[held.unit] = "control" if held.on_control else "assigned"


def pause_after(seconds: float) -> float:
    """The pause after a count that took so long."""
    return min(max(PAUSE_SECONDS, PAUSE_IN_COUNTS * seconds), MOST_PAUSE_SECONDS)


class UnitsShown:
    """Counts the units of one shard while its worker owns it, and logs when they have lapsed."""

    def __init__(self, parts: Parts, shard: Shard) -> None:
        self._parts = parts
        self._shard = shard

    async def run(self) -> None:
        """Count until cancelled; only under the wall clock: a replay's units show what its shop says."""
        if self._parts.settings.clock != "wall":
            await asyncio.Event().wait()  # a duty that returns is begun again
        loop, growing = asyncio.get_running_loop().time, FIRST_PAUSE_SECONDS
        while self._shard.version < 0:  # nothing before the definitions were read
            await asyncio.sleep(0.1)
        while True:
            began = loop()
            try:
                await self.look()
            except CannotReach as error:  # every other duty says so aloud
                self._parts.log.debug("waiting", duty="units-shown", error=str(error))
            await asyncio.sleep(min(growing, pause_after(loop() - began)))
            growing *= 2

    async def look(self) -> None:
        """One count."""
        shard, parts = self._shard, self._parts
        now = parts.clock.now()
        lives = [(laid_out, shard.life(laid_out, now)) for laid_out in shard.rosters.values()]
        parts.metrics.experiments.set(shard.number, Counter(lived.state for _, lived in lives))
        running = list(running_markets(lives, shard, parts, now))
        missed = set(undecided(running, shard))
        parts.metrics.undelivered.inc(len(missed - shard.missed))
        parts.metrics.undecided.set(shard.number, len(missed))
        shard.missed |= missed
        seen = await self._seen(running, now)
        parts.metrics.units.set(shard.number, seen.count())
        self._tell(seen, shard.shown)
        shard.shown = seen.why

    async def _seen(self, running: Sequence[tuple[Roster, str, Period]], now: datetime) -> Seen:
        seen, store, number = Seen(), self._parts.store, self._shard.number
        if not running:
            return seen
        expected: dict[str, Expected] = {}
        for laid_out, market, today in running:
            experiment = laid_out.experiment
            whole = Expected(experiment.plan_name, laid_out, market, today)
            # Of a unit that two experiments name, the one that holds it is found below.
            expected |= dict.fromkeys(laid_out.units[market], whole)
        windows = [w for w in (await store.blackouts(number)).values() if w.starts_at <= now < w.ends_at]
        known = set[str]()
        async for some in store.restoring.held_by_turns(number):
            for held in some:
                found = expected.get(held.unit)
                if found is not None:
                    known.add(held.unit)
                    judged(held, found, self._shard.shown.get(held.unit), windows, now, seen)
            await asyncio.sleep(0)
        for unit in expected.keys() - known:  # nobody has ever decided anything for it
            seen.lapsed(unit, expected[unit], expected[unit].today.start)
        return seen

    def _tell(self, seen: Seen, before: Mapping[str, Why]) -> None:
        lapsed, was = seen.count()["lapsed"], Counter(before.values())["lapsed"]
        if lapsed == was:
            return
        log = self._parts.log.bind(shard=self._shard.number, units=lapsed)
        if not lapsed:
            log.warning("units no longer lapsed", units_before=was)
            return
        log.error(
            "units lapsed",
            since=str(seen.since),
            markets=sorted(seen.markets)[:NAMED],
            experiments=sorted(seen.experiments)[:NAMED],
            why="no decision came in time: they show control until the next one takes effect",
        )
