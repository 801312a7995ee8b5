"""The owner of shards: whoever holds a partition of the tick topic decides for its markets, and nobody else.

Kafka's consumer group is the election. The offset of the ownership record that a new owner appends is its epoch: it
grows with the log, so it outlives the store, and the store refuses whoever comes with a lower one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from controller.codec import ce_type, encode, read
from controller.control import Kill
from controller.decide import Decision, Flip, decide, release_now, settled
from controller.errors import UnreadableMessage
from controller.events import CE_TYPES, Ownership, Tick, Withheld
from controller.lifecycle import Lifecycle
from controller.roster import Roster, roster
from controller.schedule import MarketPlan, due
from controller.topics import TICK
from streams.backoff import Backoff
from streams.catalog import Catalog
from streams.closing import Closing
from streams.dead_letters import Incoming, Rejected
from streams.kafka import stop_client
from streams.orders import AtOnce, as_declared, at_once, because, holds_back, life, looks_back, resumed, within_limits
from streams.parts import Parts
from streams.relay import Relay
from streams.store import NOTHING, Fenced, Outcome, Registration, plan_key

WITHHELD_NAMED = 1000
BACKGROUND = ("relay", "closing")


@dataclass(slots=True)
class Shard:
    """What an owner keeps in memory of one shard; all of it can be read back from the store."""

    number: int
    epoch: int
    #: offset of the first tick not yet decided
    tick: int
    relay: Relay
    closing: Closing
    tasks: list[asyncio.Task[None]]
    version: int = -1
    rosters: dict[str, Roster] = field(default_factory=dict)
    registrations: dict[str, Registration] = field(default_factory=dict)
    kills: dict[str, Kill] = field(default_factory=dict)
    plans: dict[str, MarketPlan] = field(default_factory=dict)
    #: how far back prices are remembered: as far as the limits of any experiment look
    remember: timedelta = NOTHING
    #: (plan, order) of what was carried out at once; a new owner does it again, which the store makes nothing of
    carried_out: set[tuple[str, str]] = field(default_factory=set)

    def plan(self, laid_out: Roster, market: str) -> MarketPlan:
        """The plan of a market for one experiment; a fresh one where nothing was decided yet."""
        return self.plans.get(_plan_key(laid_out, market), MarketPlan())

    def life(self, laid_out: Roster, now: datetime) -> Lifecycle:
        return life(self.registrations[laid_out.experiment.name], now)


def _plan_key(laid_out: Roster, market: str) -> str:
    return plan_key(laid_out.experiment.name, laid_out.experiment.version, market)


class Owner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes ticks, decides, and keeps a relay and a closing going for each shard it owns."""

    def __init__(self, parts: Parts, catalog: Catalog) -> None:
        self._parts = parts
        self._catalog = catalog
        self._topic = parts.topic(TICK)
        self._shards: dict[int, Shard] = {}
        #: shards that were taken from us, until the group gives out anew
        self._lost: set[int] = set()
        #: shards whose background duties were refused by the store
        self._fenced: dict[int, Fenced] = {}
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

    # --- taking over and letting go -----------------------------------------------------------------------------------

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
        ownership = Ownership(worker=parts.name, at=parts.clock.now())
        record = encode(ownership, f"{parts.name}/{ownership.at.isoformat()}", ownership.at)
        sent = await parts.producer.send_and_wait(
            self._topic, value=record.value, headers=record.headers, partition=number
        )
        epoch = int(sent.offset)
        try:
            tick = await parts.store.claim(number, epoch)
        except Fenced:
            parts.log.warning("shard belongs to a newer owner", shard=number, epoch=epoch)
            self._lost.add(number)
            return
        relay, closing = Relay(parts, number), Closing(parts, self._catalog, number, epoch)
        shard = Shard(number, epoch, tick, relay, closing, [])
        shard.plans = await parts.store.plans(number)
        shard.tasks = [
            asyncio.create_task(self._guarded(shard, name, run), name=f"{name}-{number}")
            for name, run in zip(BACKGROUND, (relay.run, closing.run), strict=True)
        ]
        self._shards[number] = shard
        # Only now, and nothing awaited in between: a tick that is read while nobody holds its shard is passed over.
        self._consumer.seek(partition, tick)
        parts.metrics.shards_owned.set(len(self._shards))
        parts.log.info("shard taken over", shard=number, epoch=epoch, tick=tick)

    async def _release(self, number: int) -> None:
        shard = self._shards.pop(number, None)
        if shard is None:
            return
        for task in shard.tasks:
            task.cancel()
        await asyncio.gather(*shard.tasks, return_exceptions=True)
        self._parts.metrics.shards_owned.set(len(self._shards))
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
            backoff = Backoff(self._parts, "owner")
            while not stop.is_set():
                async with backoff:
                    await self._take_over_assigned()
                    polled = await self._consumer.getmany(timeout_ms=int(wait * 1000))
                    for partition, records in polled.items():
                        await self._hear(partition.partition, records)
                    if settings.clock == "wall":
                        await self._reconcile()
        finally:
            for number in list(self._shards):
                await self._release(number)
            await stop_client(self._consumer)

    async def _hear(self, number: int, records: Sequence[Incoming]) -> None:
        for record in records:
            shard = self._shards.get(number)
            if shard is None:
                return
            try:
                if ce_type(record.headers) == CE_TYPES[Ownership]:
                    await self._hear_ownership(shard, record)
                else:
                    await self._hear_tick(shard, read(Tick, record.value or b"").at, record.offset + 1)
            except UnreadableMessage as error:
                rejected = Rejected(record, "unreadable", str(error))
                await self._parts.reject([rejected], self._parts.clock.now())
            except Fenced as error:
                await self._give_way(number, error)
            except BaseException:
                # Half decided: whoever takes the shard over next, we too, begins again with this tick.
                await self._release(number)
                raise

    async def _hear_ownership(self, shard: Shard, record: Incoming) -> None:
        if record.offset > shard.epoch:
            self._lost.add(shard.number)
            await self._release(shard.number)

    async def _reconcile(self) -> None:
        """Under the wall clock: where something is due, say so by a tick, so that the history can be replayed."""
        now = self._parts.clock.now()
        for shard in list(self._shards.values()):
            await self._refresh(shard)
            urgent = next(self._at_once(shard, now), None) is not None
            if urgent or any(self._due(shard, laid_out, now) for laid_out in shard.rosters.values()):
                tick = encode(Tick(at=now), f"{self._topic}/{shard.number}/{now.isoformat()}", now)
                await self._parts.producer.send_and_wait(
                    self._topic, value=tick.value, headers=tick.headers, partition=shard.number
                )

    def _due(self, shard: Shard, laid_out: Roster, now: datetime) -> bool:
        return any(
            due(laid_out.experiment, laid_out.time_zones[market], plan, now, stopped)
            for stopped, plans in self._plans(shard, laid_out, now)
            for market, plan in plans.items()
        )

    def _plans(self, shard: Shard, laid_out: Roster, now: datetime) -> Iterator[tuple[bool, dict[str, MarketPlan]]]:
        """The plans of this shard's markets: of those that are drawn for, and of those that are held back."""
        lived = shard.life(laid_out, now)
        if lived.state == "archived":
            return
        plans: dict[bool, dict[str, MarketPlan]] = {False: {}, True: {}}
        for market in self._markets(shard, laid_out):
            held_back, plan = holds_back(lived, shard.kills, market), shard.plan(laid_out, market)
            plans[held_back][market] = plan if held_back else resumed(plan, laid_out.experiment)
        yield from plans.items()

    def _at_once(self, shard: Shard, now: datetime) -> Iterator[tuple[Roster, str, AtOnce]]:
        """Orders that wait for no boundary and were not yet carried out."""
        for laid_out in shard.rosters.values():
            lived = shard.life(laid_out, now)
            for market in self._markets(shard, laid_out) if lived.state != "archived" else ():
                order = at_once(lived, shard.kills, market)
                if order is not None and (_plan_key(laid_out, market), order.id) not in shard.carried_out:
                    yield laid_out, market, order

    def _markets(self, shard: Shard, laid_out: Roster) -> list[str]:
        return [market for market in laid_out.units if self._parts.shard_of(market) == shard.number]

    async def _refresh(self, shard: Shard) -> None:
        """Reload the definitions when their counter has moved."""
        if await self._parts.store.registrations_version(shard.number) == shard.version:
            return
        shard.version, found = await self._parts.store.registrations(shard.number)
        shard.kills = await self._parts.store.kills(shard.number)
        shard.registrations = dict(sorted(found.items()))
        shard.rosters = {name: roster(r.experiment) for name, r in shard.registrations.items()}
        shard.remember = max((looks_back(r.experiment.limits) for r in found.values()), default=NOTHING)
        await self._catalog.catch_up()

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def _hear_tick(self, shard: Shard, at: datetime, next_tick: int) -> None:
        settings = self._parts.settings
        now = self._parts.clock.now()
        stale = settings.clock == "wall" and (now - at).total_seconds() > settings.stale_tick_seconds
        with self._parts.metrics.decision_seconds.time():
            await self._refresh(shard)
            plans: dict[str, MarketPlan] = {}
            records: list[tuple[str, str]] = []
            if not stale:
                await self._carry_out(shard, at, plans, records)
            drawn = [] if stale else await self._drawn(shard, at)
            decisions = [replace(d, flip=await self._safe(shard, d.flip)) for d in drawn]
            flips = [d.flip for d in decisions]
            outcomes = await self._parts.store.flip_all(shard.number, shard.epoch, flips, shard.remember)
            shard.relay.wake()
            for decision, outcome in zip(decisions, outcomes, strict=True):
                key = plan_key(decision.flip.experiment, decision.flip.experiment_version, decision.market)
                # What a release could not write is as little let go as what it kept.
                plans[key] = settled(decision, outcome.kept + len(outcome.withheld))
                records += self._records(decision, outcome)
                self._count(decision, outcome)
            await self._parts.store.settle(shard.number, shard.epoch, plans, records, next_tick)
        if plans:
            self._parts.log.info("tick decided", shard=shard.number, at=str(at), market_days=len(plans))
        shard.plans |= plans
        shard.tick = next_tick
        if records:
            shard.relay.wake()

    async def _drawn(self, shard: Shard, at: datetime) -> list[Decision]:
        """What the designs ask for, priced by the catalog of this moment."""
        asked = [laid_out for laid_out in shard.rosters.values() if self._due(shard, laid_out, at)]
        if asked:
            await self._catalog.catch_up()
        return [
            decision
            for laid_out in asked
            for stopped, plans in self._plans(shard, laid_out, at)
            for decision in decide(replace(laid_out, stopped=stopped), plans, at, self._catalog.last)
        ]

    async def _safe(self, shard: Shard, flip: Flip) -> Flip:
        """A flip as the catalog's changes and the price limits leave it."""
        if flip.expires_at is None:
            return flip
        registration, catalog = shard.registrations[flip.experiment], self._catalog.last
        limits = registration.experiment.limits
        declared = as_declared(flip, registration.experiment, registration.listed, catalog)
        units = [proposal.unit for proposal in flip.proposals]
        past = await self._parts.store.past_prices(shard.number, units) if looks_back(limits) else {}
        return within_limits(declared, limits, catalog, past)

    async def _flip(self, shard: Shard, flip: Flip) -> Outcome:
        outcome = await self._parts.store.flip(shard.number, shard.epoch, flip, shard.remember)
        shard.relay.wake()
        return outcome

    async def _carry_out(
        self, shard: Shard, at: datetime, plans: dict[str, MarketPlan], records: list[tuple[str, str]]
    ) -> None:
        """What waits for no boundary: units are on control from the instant of this tick on."""
        for laid_out, market, order in list(self._at_once(shard, at)):
            key = _plan_key(laid_out, market)
            flip = because(release_now(laid_out, market, at, self._catalog.entries), order.detail)
            outcome = await self._flip(shard, flip)
            records += self._withheld(flip, outcome)
            # In memory at once, so that nothing more is decided for it by this tick.
            shard.plans[key] = plans[key] = replace(shard.plan(laid_out, market), released=True)
            shard.carried_out.add((key, order.id))
            self._parts.metrics.flips.labels("at once").inc(outcome.flips)
            self._parts.log.warning(
                "control at once", experiment=flip.experiment, market=market, flips=outcome.flips, reason=order.detail
            )

    def _records(self, decision: Decision, outcome: Outcome) -> list[tuple[str, str]]:
        found = [(CE_TYPES[type(m)], m.model_dump_json()) for m in decision.messages]
        return found + self._withheld(decision.flip, outcome)

    @staticmethod
    def _withheld(flip: Flip, outcome: Outcome) -> list[tuple[str, str]]:
        found = []
        if outcome.withheld:
            withheld = Withheld(
                id=f"{flip.experiment}.{flip.experiment_version}/{flip.market}/{flip.day}/withheld",
                experiment=flip.experiment,
                experiment_version=flip.experiment_version,
                market=flip.market,
                day=flip.day,
                units=outcome.withheld[:WITHHELD_NAMED],
                reason=f"{len(outcome.withheld)} units are held by another experiment, or the definition has changed",
                decided_at=flip.decided_at,
            )
            found.append((CE_TYPES[Withheld], withheld.model_dump_json()))
        return found

    def _count(self, decision: Decision, outcome: Outcome) -> None:
        flips = self._parts.metrics.flips
        for name, number in (
            ("flipped", outcome.flips),
            ("blocked", outcome.blocked),
            ("repeated", outcome.repeated),
            ("withheld", len(outcome.withheld)),
        ):
            flips.labels(name).inc(number)
        for message in decision.messages:
            self._parts.metrics.undelivered.inc((message.last_day - message.first_day).days + 1)
        self._parts.log.debug(
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
