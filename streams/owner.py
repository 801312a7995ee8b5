"""The owner of shards: whoever holds a partition of the tick topic decides for its markets, and nobody else.

Kafka's consumer group is the election. The offset of the ownership record that a new owner appends is its epoch: it
grows with the log, so it outlives the store, and the store refuses whoever comes with a lower one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from controller.codec import ce_type, encode, read
from controller.decide import Decision, Flip, decide, release_now, settled
from controller.errors import CannotReach, UnreadableMessage
from controller.events import CE_TYPES, Ownership, Tick
from controller.lifecycle import Lifecycle
from controller.periods import period
from controller.roster import Roster, roster
from controller.schedule import MarketPlan, due
from controller.topics import TICK
from streams.backoff import Backoff
from streams.beginning import anything_begins, begin, begin_at_once, mark_begun
from streams.catalog import Catalog
from streams.claims import Lost, append_ownership
from streams.clockwork import ask_clock
from streams.closing import Closing
from streams.dead_letters import Incoming, Rejected
from streams.enrolling import Triggers, answer, enrolments
from streams.in_step import keep_in_step
from streams.kafka import stop_client
from streams.orders import (
    AtOnce,
    at_once,
    because,
    granted_through,
    holds_back,
    looks_back,
    portions,
    resumed,
    told,
    unfinished,
    withheld,
)
from streams.oversight import Waiting, count, oversee, unseen
from streams.parts import Parts
from streams.published import Publications
from streams.rebuild import Rebuild, Watch
from streams.relay import Relay
from streams.safety import safe
from streams.shard import Shard, key_of_plan
from streams.store import NOTHING, Fenced, Outcome, Registration, plan_key
from streams.together import all_of, one_by_one

BACKGROUND = ("relay", "closing", "watch")


class Owner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes ticks, decides, and keeps a relay and a closing going for each shard it owns."""

    def __init__(self, parts: Parts, catalog: Catalog, publications: Publications | None = None) -> None:
        self._parts = parts
        self._catalog = catalog
        self._rebuild = Rebuild(parts, publications or Publications(parts, catalog))
        self._topic = parts.topic(TICK)
        self._shards: dict[int, Shard] = {}
        self._lost = Lost(parts.settings.session_timeout_ms / 1000)
        #: shards whose background duties were refused by the store
        self._fenced: dict[int, Fenced] = {}
        self._triggers = Triggers(parts)
        self._consumer = AIOKafkaConsumer(
            **parts.connection,
            group_id=parts.topic("flipside.owner"),
            client_id=f"{parts.name}-owner",
            group_instance_id=parts.settings.worker_id or None,
            enable_auto_commit=False,
            fetch_max_wait_ms=parts.settings.fetch_wait_ms,
            auto_offset_reset="earliest",
            session_timeout_ms=parts.settings.session_timeout_ms,
            heartbeat_interval_ms=parts.settings.session_timeout_ms // 3,
        )

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        for partition in revoked:
            await self._release(partition.partition)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The loop takes them over: what fails there is tried again, which nobody would do here."""
        self._lost.clear()

    async def _take_over_assigned(self) -> None:
        """Own every shard that the group has given us, but for those that a newer owner has."""
        while self._fenced:
            await self._give_way(*self._fenced.popitem())
        for partition in sorted(self._consumer.assignment(), key=lambda p: p.partition):
            if partition.partition not in self._shards and partition.partition not in self._lost:
                await self._take_over(partition)

    async def _take_over(self, partition: TopicPartition) -> None:
        parts, number = self._parts, partition.partition
        epoch = await append_ownership(parts, number)
        try:
            await self._claim(number, epoch)
            await self._rebuild.mend(number, epoch)
            tick = await self._claim(number, epoch)
        except Fenced as error:
            if not error.newer:
                raise CannotReach(f"shard {number}: the store changed while it was taken over: {error}") from error
            parts.log.warning("shard belongs to a newer owner", shard=number, epoch=epoch)
            self._lost.add(number)
            return
        relay, closing = Relay(parts, number, epoch), Closing(parts, self._catalog, number, epoch)
        watch = Watch(parts, self._rebuild, number, epoch)
        shard = Shard(number, epoch, tick, relay, closing, [])
        shard.plans = await parts.store.plans(number)
        shard.trigger, clusters = await parts.store.triggers.enrolments(number)
        shard.enrolments = enrolments(clusters)
        if partition not in self._consumer.assignment():
            return  # taken away meanwhile: whoever has it now claims it from us
        # Nothing awaited from here on: a tick that is read while nobody holds its shard is passed over.
        self._consumer.seek(partition, tick)
        shard.tasks = [
            asyncio.create_task(self._guarded(shard, name, run), name=f"{name}-{number}")
            for name, run in zip(BACKGROUND, (relay.run, closing.run, watch.run), strict=True)
        ]
        self._shards[number] = shard
        parts.metrics.shards_owned.set(len(self._shards))
        parts.metrics.epoch.set(max(held.epoch for held in self._shards.values()))
        parts.log.info("shard taken over", shard=number, epoch=epoch, tick=tick)

    async def _claim(self, number: int, epoch: int) -> int:
        """The store's word that a shard is ours, and its first tick; raises Fenced where the log knows better."""
        if await self._rebuild.succeeded(number, epoch):
            raise Fenced(f"shard {number} was claimed after epoch {epoch}", newer=True)
        return await self._parts.store.claim(number, epoch)

    async def _release(self, number: int) -> None:
        shard = self._shards.pop(number, None)
        if shard is None:
            return
        self._triggers.forget(number)
        under_way = set(shard.tasks)
        while under_way:
            # Again and again: a library may swallow a cancellation that comes together with its own timeout.
            for task in under_way:
                task.cancel()
            _, under_way = await asyncio.wait(under_way, timeout=1.0)
        self._parts.metrics.shards_owned.set(len(self._shards))
        unseen(self._parts.metrics, number)
        self._parts.log.info("shard let go", shard=number, epoch=shard.epoch)

    async def _give_way(self, number: int, error: Fenced) -> None:
        """Let a shard go that the store does not know as ours; claim it anew only if nobody newer has it."""
        self._parts.metrics.fenced.inc()
        self._parts.log.warning("fenced", shard=number, newer_owner=error.newer, error=str(error))
        if error.newer:
            self._lost.add(number)
        await self._release(number)

    async def _guarded(self, shard: Shard, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep a background duty going through passing faults; a fence ends it for good."""
        pause = 0.1
        while True:
            try:
                await run()
            except asyncio.CancelledError:
                raise
            except Fenced as error:
                self._fenced[shard.number] = error
                return
            except Exception:  # whatever passes must not end the shard's duties; it is logged, counted and tried again
                self._parts.log.exception("tried again", duty=name, shard=shard.number, pause_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until asked to stop; a tick is either settled or decided again by whoever comes next."""
        settings = self._parts.settings
        wait = settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
        self._consumer.subscribe([self._topic], listener=self)
        await self._consumer.start()
        try:
            backoff, loop, reconciled = Backoff(self._parts, "owner"), asyncio.get_running_loop(), -wait
            while not stop.is_set():
                async with backoff:
                    await self._take_over_assigned()
                    ticks, triggers = await self._news(int(wait * 1000))
                    # What was read is not read again: a shard that fails, and is let go, costs the others nothing.
                    await one_by_one(
                        [
                            *(partial(self._hear, number, records) for number, records in ticks.items()),
                            partial(self._hear_all_triggers, triggers),
                        ]
                    )
                    # Triggers may come a hundred times a second; what is due is asked as often as without them.
                    if settings.clock == "wall" and (ticks or loop.time() - reconciled >= wait):
                        await self._reconcile()
                        reconciled = loop.time()
        finally:
            for number in list(self._shards):
                await self._release(number)
            await self._triggers.stop()
            await self._rebuild.stop()
            await stop_client(self._consumer)

    async def _ticks(self, timeout_ms: int) -> dict[int, list[Incoming]]:
        polled = await self._consumer.getmany(timeout_ms=timeout_ms)
        return {partition.partition: records for partition, records in polled.items()}

    async def _news(self, timeout_ms: int) -> tuple[dict[int, list[Incoming]], dict[int, list[Incoming]]]:
        """Ticks and triggers by shard, as soon as there are any of either.

        Nothing is under way when this returns: what was asked for of a shard never arrives after it has changed hands.
        """
        if not await self._triggers.follow(self._shards):
            return await self._ticks(timeout_ms), {}
        ticks = asyncio.create_task(self._ticks(timeout_ms))
        triggers = asyncio.create_task(self._triggers.poll(timeout_ms))
        both = (ticks, triggers)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            outcomes = await asyncio.gather(*both, return_exceptions=True)
        faults = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        heard, fired = ({} if isinstance(outcome, BaseException) else outcome for outcome in outcomes)
        # What one of them has read would not be read again; a fault that lasts is met again at once.
        if faults and not heard and not fired:
            raise faults[0]
        return heard, fired

    async def _hear(self, number: int, records: Sequence[Incoming]) -> None:
        for record in records:
            shard = self._shards.get(number)
            if shard is None:
                return
            async with self._as_owner(number):
                try:
                    if ce_type(record.headers) == CE_TYPES[Ownership]:
                        await self._hear_ownership(shard, record)
                    else:
                        await self._hear_tick(shard, read(Tick, record.value or b"").at, record.offset + 1)
                except UnreadableMessage as error:
                    rejected = Rejected(record, "unreadable", str(error))
                    await self._parts.reject([rejected], self._parts.clock.now())

    async def _hear_all_triggers(self, triggers: Mapping[int, Sequence[Incoming]]) -> None:
        """Shard by shard at once: while the store answers one of them, another is judged."""
        await all_of(self._hear_triggers(number, records) for number, records in triggers.items())

    async def _hear_triggers(self, number: int, records: Sequence[Incoming]) -> None:
        shard = self._shards.get(number)
        if shard is not None:
            async with self._as_owner(number):
                await self._refresh(shard)
                markets = await answer(self._parts, shard, records)
                if markets:
                    await begin_at_once(self._parts, shard, markets, self._catalog.last)
                # Not before: the answer and the flips that it leads to go out in one round.
                shard.relay.wake()

    @asynccontextmanager
    async def _as_owner(self, number: int) -> AsyncIterator[None]:
        try:
            yield
        except Fenced as error:
            await self._give_way(number, error)
        except BaseException:
            # Half decided: whoever takes the shard over next, we too, begins again with this record.
            await self._release(number)
            raise

    async def _hear_ownership(self, shard: Shard, record: Incoming) -> None:
        if record.offset > shard.epoch:
            self._lost.add(shard.number)
            await self._release(shard.number)

    async def _reconcile(self) -> None:
        """Under the wall clock: where something is due, say so by a tick, so that the history can be replayed."""
        await keep_in_step(self._parts)
        now, producer = self._parts.clock.now(), self._parts.producer
        for shard in list(self._shards.values()):
            await self._refresh(shard)
            await ask_clock(self._parts, shard, now)
            urgent = next(self._at_once(shard, now), None) is not None
            waiting = [d for laid_out in shard.rosters.values() for d in self._dues(shard, laid_out, now)]
            oversee(self._parts.metrics, shard.number, waiting, self._leases(shard), now)
            last = self._catalog.last
            begins = any(anything_begins(self._parts, shard, r, now, last) for r in shard.rosters.values())
            if urgent or waiting or begins:
                tick = encode(Tick(at=now), f"{self._topic}/{shard.number}/{now.isoformat()}", now)
                await producer.send_and_wait(self._topic, tick.value, partition=shard.number, headers=tick.headers)

    def _due(self, shard: Shard, laid_out: Roster, now: datetime) -> bool:
        return next(self._dues(shard, laid_out, now), None) is not None

    def _dues(self, shard: Shard, laid_out: Roster, now: datetime) -> Iterator[Waiting]:
        for stopped, plans in self._plans(shard, laid_out, now):
            for market, plan in plans.items():
                found = due(laid_out.experiment, laid_out.time_zones[market], plan, now, stopped)
                if found is not None:
                    yield found.period.start - laid_out.experiment.lead

    def _leases(self, shard: Shard) -> Iterator[datetime]:
        for laid_out in shard.rosters.values():
            for market in self._markets(shard, laid_out):
                plan = shard.plan(laid_out, market)
                if plan.decided_through is not None and not plan.released:
                    yield period(plan.decided_through, laid_out.time_zones[market]).end

    def _plans(self, shard: Shard, laid_out: Roster, now: datetime) -> Iterator[tuple[bool, dict[str, MarketPlan]]]:
        """The plans of this shard's markets: of those that are drawn for, and of those that are held back."""
        lived = shard.life(laid_out, now)
        plans: dict[bool, dict[str, MarketPlan]] = {False: {}, True: {}}
        for market in self._unfinished(shard, laid_out, lived):
            held_back, plan = holds_back(lived, shard.kills, market), shard.plan(laid_out, market)
            plans[held_back][market] = plan if held_back else resumed(plan, laid_out.experiment)
        yield from plans.items()

    def _at_once(self, shard: Shard, now: datetime) -> Iterator[tuple[Roster, str, AtOnce]]:
        """Orders that wait for no boundary and were not yet carried out."""
        for laid_out in shard.rosters.values():
            lived = shard.life(laid_out, now)
            for market in self._unfinished(shard, laid_out, lived):
                order = at_once(lived, shard.kills, market)
                if order is not None and (key_of_plan(laid_out, market), order.id) not in shard.carried_out:
                    yield laid_out, market, order

    def _markets(self, shard: Shard, laid_out: Roster) -> list[str]:
        return [market for market in laid_out.units if self._parts.shard_of(market) == shard.number]

    def _unfinished(self, shard: Shard, laid_out: Roster, lived: Lifecycle) -> list[str]:
        """This shard's markets in which an experiment has anything to decide."""
        return [m for m in self._markets(shard, laid_out) if unfinished(lived, shard.plan(laid_out, m))]

    async def _refresh(self, shard: Shard) -> None:
        """Reload the definitions when their counter has moved."""
        if await self._parts.store.registrations_version(shard.number) == shard.version:
            return
        shard.version, found = await self._parts.store.registrations(shard.number)
        shard.kills = await self._parts.store.kills(shard.number)
        shard.registrations = dict(sorted(found.items()))
        shard.rosters = {name: self._laid_out(r) for name, r in shard.registrations.items()}
        shard.remember = max((looks_back(r.experiment.limits) for r in found.values()), default=NOTHING)
        await self._catalog.catch_up()

    def _laid_out(self, registration: Registration) -> Roster:
        """The roster of an experiment: one for all shards, because each has all units."""
        for shard in self._shards.values():
            known = shard.rosters.get(registration.experiment.name)
            if known is not None and known.experiment == registration.experiment:
                return known
        return roster(registration.experiment)

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def _hear_tick(self, shard: Shard, at: datetime, next_tick: int) -> None:
        settings = self._parts.settings
        now = self._parts.clock.now()
        stale = settings.clock == "wall" and (now - at).total_seconds() > settings.stale_tick_seconds
        with self._parts.metrics.decision_seconds.time():
            await self._refresh(shard)
            await ask_clock(self._parts, shard, at)
            plans: dict[str, MarketPlan] = {}
            records: list[tuple[str, str]] = []
            if not stale:
                await self._carry_out(shard, at, plans, records)
            drawn = [] if stale else await self._drawn(shard, at)
            if told(drawn) and await self._know_what_was_granted(shard):
                drawn = await self._drawn(shard, at)
            await self._parts.store.tell(shard.number, shard.epoch, told(drawn))
            flips = [await self._safe(shard, d.flip, records) for d in drawn]
            decisions = [replace(d, flip=flip) for d, flip in zip(drawn, flips, strict=True)]
            outcomes = await self._flip_all(shard, flips)
            for decision, outcome in zip(decisions, outcomes, strict=True):
                key = plan_key(decision.flip.experiment, decision.flip.experiment_version, decision.market)
                # What a release could not write is as little let go as what it kept.
                plans[key] = settled(decision, outcome.kept + len(outcome.withheld))
                records += withheld(decision.flip, outcome)
                count(self._parts, decision, outcome)
            shard.plans |= plans
            begun = [] if stale else await begin(self._parts, shard, at, self._catalog.last, records)
            await self._parts.store.settle(shard.number, shard.epoch, plans, records, next_tick)
            await mark_begun(self._parts, shard, begun)
        if plans:
            self._parts.log.info("tick decided", shard=shard.number, at=str(at), market_days=len(plans))
        shard.tick = next_tick
        if records:
            shard.relay.wake()

    async def _know_what_was_granted(self, shard: Shard) -> bool:
        """Whether days that look missed were decided after all, by an owner that ended before it had settled them."""
        held = await self._parts.store.restoring.held(shard.number)
        known = {
            key_of_plan(laid_out, market): granted_through(laid_out, market, shard.plan(laid_out, market), held)
            for laid_out in shard.rosters.values()
            for market in self._markets(shard, laid_out)
        }
        changed = {key: plan for key, plan in known.items() if plan != shard.plans.get(key, MarketPlan())}
        shard.plans |= changed
        return bool(changed)

    async def _drawn(self, shard: Shard, at: datetime) -> list[Decision]:
        """What the designs ask for, priced by the catalog of this moment."""
        asked = [laid_out for laid_out in shard.rosters.values() if self._due(shard, laid_out, at)]
        if asked:
            await self._catalog.catch_up()
        return [
            decision
            for laid_out in asked
            for stopped, plans in self._plans(shard, laid_out, at)
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
        for laid_out, market, order in list(self._at_once(shard, at)):
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
