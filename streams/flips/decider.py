"""Deciding: what is due at a tick is drawn, made safe, written by the store under its fence, and settled."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.decisions.decide import Decision, Flip, decide, release_now, settled
from controller.decisions.roster import Roster, roster
from controller.schedule.due import MarketPlan
from streams.control.catalog import Catalog
from streams.control.overrides import DETAIL, because, granted_through, looks_back, portions, told, withheld
from streams.flips.due_work import is_due, markets_of, orders_at_once, plans_of
from streams.flips.intraday_entries import Begun, begin, mark_begun
from streams.flips.lifecycle_clock import ask_clock
from streams.flips.price_safety import safe
from streams.flips.shard import Shard, key_of_plan
from streams.store import NOTHING, Outcome, Registration, plan_key
from streams.worker.last_line import FEW_MARKETS, Place, alone, concerns_all, unforeseen
from streams.worker.services import Parts
from streams.worker.shard_metrics import count


@dataclass(slots=True)
class LedTo:
    """What a tick has led to, as far as it was written."""

    plans: dict[str, MarketPlan] = field(default_factory=dict)
    records: list[tuple[str, str]] = field(default_factory=list)
    begun: Begun = field(default_factory=list)


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
        """Decide what is due at a tick, settle it, and go on to the next one."""
        settings = self._parts.settings
        now = self._parts.clock.now()
        stale = settings.clock == "wall" and (now - at).total_seconds() > settings.stale_tick_seconds
        with self._parts.metrics.decision_seconds.time():
            await self.refresh(shard)
            await self.ask_clock(shard, at)
            led_to = LedTo()
            if not stale:
                await self.spared(shard, lambda some: self._decide(some, at, led_to))
                await self._release(shard, at, led_to)
            plans, records = led_to.plans, list(dict.fromkeys(led_to.records))
            await self._parts.store.settle(shard.number, shard.epoch, plans, records, next_tick)
            await mark_begun(self._parts, shard, led_to.begun)
        if plans:
            self._parts.log.info("tick decided", shard=shard.number, at=str(at), market_days=len(plans))
        shard.tick = next_tick
        if records:
            shard.relay.wake()

    async def _decide(self, shard: Shard, at: datetime, led_to: "LedTo") -> None:
        """Decide what is due; all of it may be done again."""
        records = led_to.records
        await self._carry_out(shard, at, led_to.plans, records)
        drawn = await self._drawn(shard, at)
        if told(drawn) and await self._know_what_was_granted(shard):
            drawn = await self._drawn(shard, at)
        await self._parts.store.tell(shard.number, shard.epoch, missed := told(drawn))
        if missed:
            shard.relay.wake()
        flips = [await self._safe(shard, d.flip, records) for d in drawn]
        decisions = [replace(d, flip=flip) for d, flip in zip(drawn, flips, strict=True)]
        outcomes = await self._flip_all(shard, flips)
        plans: dict[str, MarketPlan] = {}
        for decision, outcome in zip(decisions, outcomes, strict=True):
            key = plan_key(decision.flip.experiment, decision.flip.experiment_version, decision.market)
            # What a release could not write is as little let go as what it kept.
            plans[key] = settled(decision, outcome.kept + len(outcome.withheld))
            records += withheld(decision.flip, outcome)
            count(self._parts, decision, outcome, shard.missed)
        shard.plans |= plans
        led_to.plans |= plans
        led_to.begun += await begin(self._parts, shard, at, self._catalog.last, records)

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

    async def _release(self, shard: Shard, at: datetime, led_to: "LedTo") -> None:
        """Put what was set aside on control: at once, or, where that fails too, when its lease ends."""
        for place, fault in list(shard.suspended.to_release.items()):
            for laid_out in list(shard.rosters.values()):
                name = laid_out.experiment.name
                if place.market in laid_out.units and place.experiment in ("", name):
                    await self._let_go(shard, laid_out, place.market, at, str(fault), led_to)
            del shard.suspended.to_release[place]

    async def _let_go(
        self, shard: Shard, laid_out: Roster, market: str, at: datetime, why: str, led_to: "LedTo"
    ) -> None:
        key = key_of_plan(laid_out, market)

        async def at_once(key: str) -> None:
            flip = because(release_now(laid_out, market, at, self._catalog.entries), f"set aside: {why}"[:DETAIL])
            outcome = await self._flip(shard, flip)
            led_to.records += withheld(flip, outcome)
            shard.plans[key] = led_to.plans[key] = replace(shard.plan(laid_out, market), released=True)
            self._parts.metrics.flips.labels("at once").inc(outcome.flips)

        said = {"experiment": laid_out.experiment.name, "market": market}
        if await alone([key], at_once):
            self._parts.log.error("control when the lease ends", **said, why="it cannot be released at once")
        else:
            self._parts.log.warning("control at once", **said, reason=why)

    async def _know_what_was_granted(self, shard: Shard) -> bool:
        """Whether days that look missed were decided after all, by an owner that ended before it had settled them."""
        held = await self._parts.store.restoring.held(shard.number)
        known = {
            key_of_plan(laid_out, market): granted_through(laid_out, market, shard.plan(laid_out, market), held)
            for laid_out in shard.rosters.values()
            for market in markets_of(self._parts, shard, laid_out)
        }
        changed = {key: plan for key, plan in known.items() if plan != shard.plans.get(key, MarketPlan())}
        shard.plans |= changed
        return bool(changed)

    async def _drawn(self, shard: Shard, at: datetime) -> list[Decision]:
        """What the designs ask for, priced by the catalog of this moment."""
        asked = [laid_out for laid_out in shard.rosters.values() if is_due(self._parts, shard, laid_out, at)]
        if asked:
            await self._catalog.catch_up()
        return [
            decision
            for laid_out in asked
            for stopped, plans in plans_of(self._parts, shard, laid_out, at)
            for decision in decide(
                replace(laid_out, stopped=stopped), plans, at, self._catalog.last, shard.entries(laid_out)
            )
        ]

    async def _safe(self, shard: Shard, flip: Flip, records: list[tuple[str, str]]) -> Flip:
        """A flip that breaks no rule of prices; what that came to is put on record."""
        kept, told = await safe(self._parts, shard, flip, self._catalog.last)
        records += told
        return kept

    async def _flip_all(self, shard: Shard, flips: Sequence[Flip]) -> list[Outcome]:
        """Some at a time: while the next ones are decided, the relay publishes what is."""
        outcomes: list[Outcome] = []
        for some in portions(flips):
            outcomes += await self._parts.store.flip_all(shard.number, shard.epoch, some, shard.remember)
            shard.relay.wake()
        return outcomes

    async def _flip(self, shard: Shard, flip: Flip) -> Outcome:
        outcome = await self._parts.store.flip(shard.number, shard.epoch, flip, shard.remember)
        shard.relay.wake()
        return outcome

    async def _carry_out(
        self, shard: Shard, at: datetime, plans: dict[str, MarketPlan], records: list[tuple[str, str]]
    ) -> None:
        """What waits for no boundary: units are on control from the instant of this tick on."""
        for laid_out, market, order in list(orders_at_once(self._parts, shard, at)):
            key = key_of_plan(laid_out, market)
            flip = because(release_now(laid_out, market, at, self._catalog.entries), order.detail)
            outcome = await self._flip(shard, flip)
            records += withheld(flip, outcome)
            # In memory at once, so that nothing more is decided for it by this tick.
            shard.plans[key] = plans[key] = replace(shard.plan(laid_out, market), released=True)
            shard.carried_out.add((key, order.id))
            self._parts.metrics.flips.labels("at once").inc(outcome.flips)
            self._parts.log.warning(
                "control at once", experiment=flip.experiment, market=market, flips=outcome.flips, reason=order.detail
            )
