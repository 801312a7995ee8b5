"""The owner of shards: whoever holds a partition of the tick topic decides for its markets, and nobody else.

Kafka's consumer group is the election. The offset of the ownership record that a new owner appends is its epoch: it
grows with the log, so it outlives the store, and the store refuses whoever comes with a lower one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from controller.codec import ce_type, encode, read
from controller.decide import Decision, decide, settled
from controller.errors import UnreadableMessage
from controller.events import CE_TYPES, Ownership, Tick, Withheld
from controller.roster import Roster, roster
from controller.schedule import MarketPlan, due
from controller.topics import TICK
from streams.backoff import Backoff
from streams.catalog import Catalog
from streams.closing import Closing
from streams.dead_letters import Incoming, Rejected
from streams.kafka import stop_client
from streams.parts import Parts
from streams.relay import Relay
from streams.store import Fenced, Outcome, plan_key

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
    plans: dict[str, MarketPlan] = field(default_factory=dict)

    def market_plans(self, laid_out: Roster, markets: Iterable[str]) -> dict[str, MarketPlan]:
        """The plan of each market for one experiment; a fresh one where nothing was decided yet."""
        experiment = laid_out.experiment
        key = {market: plan_key(experiment.name, experiment.version, market) for market in markets}
        return {market: self.plans.get(key[market], MarketPlan()) for market in markets}


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
        self._consumer.seek(partition, tick)
        relay, closing = Relay(parts, number), Closing(parts, self._catalog, number, epoch)
        shard = Shard(number, epoch, tick, relay, closing, [])
        shard.plans = await parts.store.plans(number)
        shard.tasks = [
            asyncio.create_task(self._guarded(shard, name, run), name=f"{name}-{number}")
            for name, run in zip(BACKGROUND, (relay.run, closing.run), strict=True)
        ]
        self._shards[number] = shard
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
            if any(self._due(shard, laid_out, now) for laid_out in shard.rosters.values()):
                tick = encode(Tick(at=now), f"{self._topic}/{shard.number}/{now.isoformat()}", now)
                await self._parts.producer.send_and_wait(
                    self._topic, value=tick.value, headers=tick.headers, partition=shard.number
                )

    def _due(self, shard: Shard, laid_out: Roster, now: datetime) -> bool:
        plans = shard.market_plans(laid_out, self._markets(shard, laid_out))
        return any(
            due(laid_out.experiment, laid_out.time_zones[market], plan, now, laid_out.stopped)
            for market, plan in plans.items()
        )

    def _markets(self, shard: Shard, laid_out: Roster) -> list[str]:
        return [market for market in laid_out.units if self._parts.shard_of(market) == shard.number]

    async def _refresh(self, shard: Shard) -> None:
        """Reload the definitions when their counter has moved."""
        if await self._parts.store.registrations_version(shard.number) == shard.version:
            return
        shard.version, found = await self._parts.store.registrations(shard.number)
        shard.rosters = {name: roster(r.experiment, r.stopped) for name, r in sorted(found.items())}
        await self._catalog.catch_up()

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def _hear_tick(self, shard: Shard, at: datetime, next_tick: int) -> None:
        settings = self._parts.settings
        now = self._parts.clock.now()
        stale = settings.clock == "wall" and (now - at).total_seconds() > settings.stale_tick_seconds
        with self._parts.metrics.decision_seconds.time():
            await self._refresh(shard)
            decisions = [] if stale else [d for r in shard.rosters.values() for d in self._decide(shard, r, at)]
            plans: dict[str, MarketPlan] = {}
            records: list[tuple[str, str]] = []
            outcomes = await self._parts.store.flip_all(shard.number, shard.epoch, [d.flip for d in decisions])
            for decision, outcome in zip(decisions, outcomes, strict=True):
                key = plan_key(decision.flip.experiment, decision.flip.experiment_version, decision.market)
                # What a release could not write is as little let go as what it kept.
                plans[key] = settled(decision, outcome.kept + len(outcome.withheld))
                records += self._records(decision, outcome)
                self._count(decision, outcome)
                shard.relay.wake()
            await self._parts.store.settle(shard.number, shard.epoch, plans, records, next_tick)
        if plans:
            self._parts.log.info("tick decided", shard=shard.number, at=str(at), market_days=len(plans))
        shard.plans |= plans
        shard.tick = next_tick
        if records:
            shard.relay.wake()

    def _decide(self, shard: Shard, laid_out: Roster, at: datetime) -> list[Decision]:
        plans = shard.market_plans(laid_out, self._markets(shard, laid_out))
        return list(decide(laid_out, plans, at, self._catalog.entries))

    @staticmethod
    def _records(decision: Decision, outcome: Outcome) -> list[tuple[str, str]]:
        found = [(CE_TYPES[type(m)], m.model_dump_json()) for m in decision.messages]
        if outcome.withheld:
            flip = decision.flip
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
