"""Deciding: what is due at a tick is drawn, made safe, written by the store under its fence, and settled."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from controller.decisions.decide import Decision, Flip, decide, settled
from controller.decisions.roster import Roster, roster
from controller.schedule.due import MarketPlan
from streams.control.catalog import Catalog
from streams.control.overrides import DETAIL
from streams.flips.control_at_once import put_on_control
from streams.flips.decision_records import Step, Written, missed_days, withheld
from streams.flips.intraday_entries import begin, mark_begun
from streams.flips.lifecycle_clock import ask_clock
from streams.flips.market_state import ShardState, markets_of, state_of
from streams.flips.price_safety import looks_back, safe
from streams.flips.shard import Shard, key_of_plan
from streams.store import NOTHING, LogRecord, Outcome, Registration, plan_key
from streams.worker.last_line import FEW_MARKETS, Place, alone, concerns_all, unforeseen
from streams.worker.services import Parts
from streams.worker.shard_metrics import count


class Deciding:
    """Decides for the shards of one worker, each in its turn."""

    def __init__(self, parts: Parts, catalog: Catalog, shards: Mapping[int, Shard]) -> None:
        """``shards``: those that the worker holds, at any time."""
        self._parts = parts
        self._catalog = catalog
        self._shards = shards

    async def refresh(self, shard: Shard) -> None:
        """Reload the definitions when their counter has moved."""
        if await self._parts.store.registrations_version(shard.number) == shard.version:
            return
        shard.version, found = await self._parts.store.registrations(shard.number)
        shard.kills = await self._parts.store.kills(shard.number)
        shard.registrations = dict(sorted(found.items()))
        await self._lay_out(shard)
        await self._catalog.catch_up()

    async def _lay_out(self, shard: Shard) -> None:
        """The rosters of a shard's experiments; one that cannot be laid out is set aside in all of its markets."""
        rosters: dict[str, Roster] = {}
        remember = [NOTHING]

        async def one(name: str) -> None:
            registration = shard.registrations[name]
            rosters[name] = self._laid_out(registration)
            remember.append(looks_back(registration.experiment.limits))

        await self._set_aside_whole(shard, await alone(shard.registrations, one))
        shard.rosters = {name: rosters[name] for name in shard.registrations}
        shard.remember = max(remember)

    async def ask_clock(self, shard: Shard, now: datetime) -> None:
        """Ask for what time has brought about in experiments' lives; one that fails is set aside."""

        async def one(name: str) -> None:
            await ask_clock(self._parts, shard, now, {name: shard.registrations[name]})

        try:
            await ask_clock(self._parts, shard, now, shard.registrations)
        except Exception as error:
            if not unforeseen(error):
                raise
            await self._set_aside_whole(shard, await alone(list(shard.registrations), one))

    async def _set_aside_whole(self, shard: Shard, faults: Mapping[str, Exception]) -> None:
        """Set experiments aside in all of the shard's markets."""
        if len(faults) > FEW_MARKETS and 2 * len(faults) > len(shard.registrations):
            raise next(iter(faults.values()))
        places: dict[Place, Exception] = {}
        for name, fault in faults.items():
            experiment = shard.registrations.pop(name).experiment
            shard.rosters.pop(name, None)
            mine = [m for m in experiment.units_by_market() if self._parts.shard_of(m) == shard.number]
            places |= {Place(market, name): fault for market in mine}
        await shard.suspended.add(self._parts, "deciding", places)

    def _laid_out(self, registration: Registration) -> Roster:
        """The roster of an experiment: one for all shards, because each has all units."""
        for shard in self._shards.values():
            known = shard.rosters.get(registration.experiment.name)
            if known is not None and known.experiment == registration.experiment:
                return known
        return roster(registration.experiment)

    async def tick(self, shard: Shard, at: datetime, next_tick: int) -> None:
        """Decide what is due at a tick, settle it, and go on to the next one. Raises Fenced."""
        settings = self._parts.settings
        now = self._parts.clock.now()
        stale = settings.clock == "wall" and (now - at).total_seconds() > settings.stale_tick_seconds
        written = Written()
        with self._parts.metrics.decision_seconds.time():
            await self.refresh(shard)
            await self.ask_clock(shard, at)
            if not stale:
                await self.spared(shard, lambda some: self._decide(some, at, written))
                await self._release(shard, at, written)
            records = list(dict.fromkeys(written.records))
            await self._parts.store.settle(shard.number, shard.epoch, written.plans, records, next_tick)
            await mark_begun(self._parts, shard, written.begun)
        if written.plans:
            self._parts.log.info("tick decided", shard=shard.number, at=str(at), market_days=len(written.plans))
        shard.tick = next_tick
        if records:
            shard.relay.wake()

    async def _decide(self, shard: Shard, at: datetime, written: Written) -> None:
        """The steps of a tick, on one state of the shard's markets; all of them may be done again."""
        # 1. What stands: registration, lifecycle, kills, plans, what is due.
        state = state_of(self._parts, shard, at)
        # 2. Control at once, where it is asked for.
        prices = self._catalog.entries
        for found, order in state.orders:
            written.add(await put_on_control(self._parts, shard, found.roster, found.market, at, order.detail, prices))
            shard.carried_out.add((found.key, order.id))
        state = state.planned({found.key: shard.plan(found.roster, found.market) for found, _ in state.orders})
        # 3. Draw. Days that look missed may have been decided by an owner that ended before it had settled them.
        drawn = await self._drawn(shard, state)
        if any(decision.messages for decision in drawn) and (granted := await self._granted(shard, state)):
            shard.plans |= granted
            state = state.planned(granted)
            drawn = await self._drawn(shard, state)
        await self._tell_missed(shard, drawn)
        # 4. Prices that break no rule.
        catalog = self._catalog.last
        decisions: list[Decision] = []
        for decision in drawn:
            flip, records = await safe(self._parts, shard, decision.flip, catalog)
            written.add(Step(records=records))
            decisions.append(replace(decision, flip=flip))
        # 5. Flip, under the fence; 6. what that leaves decided.
        outcomes = await self._flip_all(shard, [decision.flip for decision in decisions])
        written.add(self._settled(shard, decisions, outcomes))
        # 7. Entries that begin within the day.
        written.add(Step(begun=await begin(self._parts, shard, at, catalog, written.records)))

    # --- steps --------------------------------------------------------------------------------------------------------

    async def _drawn(self, shard: Shard, state: ShardState) -> list[Decision]:
        """What the designs ask for, priced by the catalog of this moment."""
        draws = list(state.draws())
        if draws:
            await self._catalog.catch_up()
        return [
            decision
            for laid_out, plans in draws
            for decision in decide(laid_out, plans, state.at, self._catalog.last, shard.entries(laid_out))
        ]

    async def _granted(self, shard: Shard, state: ShardState) -> dict[str, MarketPlan]:
        return state.granted(await self._parts.store.restoring.held(shard.number))

    async def _tell_missed(self, shard: Shard, drawn: Sequence[Decision]) -> None:
        missed = missed_days(drawn)
        await self._parts.store.tell(shard.number, shard.epoch, missed)
        if missed:
            shard.relay.wake()

    async def _flip_all(self, shard: Shard, flips: Sequence[Flip]) -> list[Outcome]:
        """Some at a time: while the next ones are decided, the relay publishes what is."""
        outcomes: list[Outcome] = []
        for some in portions(flips):
            outcomes += await self._parts.store.flip_all(shard.number, shard.epoch, some, shard.remember)
            shard.relay.wake()
        return outcomes

    def _settled(self, shard: Shard, decisions: Sequence[Decision], outcomes: Sequence[Outcome]) -> Step:
        """The plans that decisions lead to, and the records of units for which nothing was written."""
        plans: dict[str, MarketPlan] = {}
        records: list[LogRecord] = []
        for decision, outcome in zip(decisions, outcomes, strict=True):
            key = plan_key(decision.flip.experiment, decision.flip.experiment_version, decision.market)
            # What a release could not write is as little let go as what it kept.
            plans[key] = settled(decision, outcome.kept + len(outcome.withheld))
            records += withheld(decision.flip, outcome)
            count(self._parts, decision, outcome, shard.missed)
        shard.plans |= plans
        return Step(plans, records)

    # --- the last line ------------------------------------------------------------------------------------------------

    async def spared(self, shard: Shard, work: Callable[[Shard], Awaitable[None]]) -> None:
        """Do work for a shard; where it fails with an unforeseen error, for each market of each experiment alone.

        Those that fail alone are set aside. Raises what happened where that concerns all.
        """
        try:
            await work(shard)
        except Exception as error:
            if not unforeseen(error):
                raise
            places = [
                Place(market, laid_out.experiment.name)
                for laid_out in shard.rosters.values()
                for market in markets_of(self._parts, shard, laid_out)
            ]
            faults = await alone(places, lambda place: work(shard.only(place)))
            if concerns_all([*faults, *self._set_aside()], self._places()):
                raise
            if not faults and not places:
                raise
            await shard.suspended.add(self._parts, "deciding", faults)

    def _set_aside(self) -> list[Place]:
        return [p for shard in self._shards.values() for duty, p in shard.suspended.faults if duty == "deciding"]

    def _places(self) -> list[Place]:
        """Every market of every experiment that this worker decides for, or has set aside."""
        return [
            Place(market, laid_out.experiment.name)
            for shard in self._shards.values()
            for laid_out in shard.rosters.values()
            for market in laid_out.units
            if self._parts.shard_of(market) == shard.number
        ]

    async def _release(self, shard: Shard, at: datetime, written: Written) -> None:
        """Put what was set aside on control: at once, or, where that fails too, when its lease ends."""
        for place, fault in list(shard.suspended.to_release.items()):
            for laid_out in list(shard.rosters.values()):
                name = laid_out.experiment.name
                if place.market in laid_out.units and place.experiment in ("", name):
                    await self._let_go(shard, laid_out, place.market, at, str(fault), written)
            del shard.suspended.to_release[place]

    async def _let_go(
        self, shard: Shard, laid_out: Roster, market: str, at: datetime, why: str, written: Written
    ) -> None:
        async def at_once(_: str) -> None:
            said = f"set aside: {why}"[:DETAIL]
            written.add(await put_on_control(self._parts, shard, laid_out, market, at, said, self._catalog.entries))

        if await alone([key_of_plan(laid_out, market)], at_once):
            self._parts.log.error(
                "control when the lease ends", experiment=laid_out.experiment.name, market=market,
                why="it cannot be released at once",
            )  # fmt: skip


def portions(flips: Sequence[Flip], units: int = 8000) -> Iterator[Sequence[Flip]]:
    """Flips in their order, some thousand units at a time."""
    first, held = 0, 0
    for place, flip in enumerate(flips):
        held += len(flip.proposals)
        if held >= units or place == len(flips) - 1:
            yield flips[first : place + 1]
            first, held = place + 1, 0
