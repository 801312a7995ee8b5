"""The owner of shards: the one worker that holds a partition of the tick topic decides for its markets.

Kafka's consumer group is the election. The offset of the ownership record that a new owner appends is its epoch: it
grows with the log, so it outlives the store, and the store refuses a lower one.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from controller.errors import UnreadableMessage
from controller.messages.codec import ce_type, encode, message_of
from controller.messages.events import CE_TYPES, Ownership, Tick
from controller.messages.topics import TICK
from streams.control.catalog import Catalog
from streams.flips.decider import Deciding
from streams.flips.intraday_entries import anything_begins, begin_at_once
from streams.flips.market_state import state_of
from streams.flips.shard import Shard
from streams.flips.trigger_answers import Triggers, answer
from streams.inputs.published_sales import Publications
from streams.kafka.dead_letters import Incoming, Rejected, unreadable
from streams.ownership.takeover import Holdings
from streams.recovery.rebuild import Rebuild
from streams.runtime.gather import all_of, one_by_one
from streams.store import Fenced
from streams.worker.backoff import Backoff
from streams.worker.clock_skew import keep_in_step
from streams.worker.group_membership import leave, membership
from streams.worker.services import Parts
from streams.worker.shard_metrics import oversee

#: shortest wait for records: a poll without any wait returns none
SHORTEST_WAIT_MS = 1
#: records of each shard, in their order
ByShard = dict[int, list[Incoming]]


def tick_of(parts: Parts, record: Incoming) -> Tick | Rejected:
    """The tick in a record, or why it decides nothing. Under the wall clock, one ahead of ours is nobody's word."""
    tick = message_of(record, Tick)
    if isinstance(tick, UnreadableMessage):
        return unreadable(record, tick)
    ahead = (tick.at - parts.clock.now()).total_seconds()
    if parts.settings.clock == "wall" and ahead > parts.settings.clock_tolerance_seconds:
        return Rejected(record, "future", f"the tick of {tick.at} lies {ahead:.0f} s ahead of this worker's clock")
    return tick


def polled(poll: asyncio.Task[ByShard]) -> ByShard:
    """What a poll that has ended brought: nothing where it was cancelled or has failed."""
    return {} if poll.cancelled() or poll.exception() is not None else poll.result()


def fault_in(poll: asyncio.Task[ByShard]) -> BaseException | None:
    """Why a poll that has ended failed; None where it did not, or was cancelled."""
    return None if poll.cancelled() else poll.exception()


class Owner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes ticks and decides, for each shard that its group gives to it."""

    def __init__(self, parts: Parts, catalog: Catalog, publications: Publications | None = None) -> None:
        self._parts = parts
        self._catalog = catalog
        self._rebuild = Rebuild(parts, publications or Publications(parts, catalog))
        self._topic = parts.topic(TICK)
        self._triggers = Triggers(parts)
        self._consumer = AIOKafkaConsumer(
            **parts.connection, **membership(parts, "flipside.owner"), client_id=f"{parts.name}-owner"
        )
        self._held = Holdings(parts, catalog, self._rebuild, self._consumer, self._triggers.forget)
        self._deciding = Deciding(parts, catalog, self._held.shards)
        #: set when the group has given shards out
        self._given = asyncio.Event()
        #: shard -> when it was looked at last, in seconds of the event loop
        self._looked: dict[int, float] = {}
        #: when the clock was compared last, in the same seconds
        self._compared = -math.inf

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        await self._held.rest()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The loop takes them over: what fails there is retried, which would not happen here."""
        self._held.given(partition.partition for partition in assigned)
        self._given.set()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until asked to stop; a tick is either settled or decided again by the next owner."""
        settings = self._parts.settings
        wait = settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
        self._consumer.subscribe([self._topic], listener=self)
        await self._consumer.start()
        try:
            backoff = Backoff(self._parts, "owner")
            while not stop.is_set():
                async with backoff:
                    self._given.clear()
                    await self._held.take_over(place.partition for place in self._consumer.assignment())
                    ticks, triggers = await self._news(self._pause_ms(wait))
                    # What was read is not read again: a shard that fails, and is let go, costs the others nothing.
                    await one_by_one(
                        [
                            *(partial(self._hear, number, records) for number, records in ticks.items()),
                            partial(self._hear_all_triggers, triggers),
                        ]
                    )
                    if settings.clock == "wall":
                        await self._look(ticks, wait)
        finally:
            await self._held.let_all_go()
            # First: from now on the others can have them.
            await leave(self._consumer)
            await self._triggers.stop()
            await self._rebuild.stop()

    async def _ticks(self, timeout_ms: int) -> ByShard:
        polled = await self._consumer.getmany(timeout_ms=timeout_ms)
        return {partition.partition: records for partition, records in polled.items()}

    async def _news(self, timeout_ms: int) -> tuple[ByShard, ByShard]:
        """Ticks and triggers by shard, as soon as there are any of either, or shards to be taken over.

        Nothing is under way when this returns: what was asked for of a shard never arrives after it has changed hands.
        """
        followed = await self._triggers.follow(self._held.shards)
        ticks = asyncio.create_task(self._ticks(timeout_ms))
        triggers = asyncio.create_task(self._triggers.poll(timeout_ms)) if followed else None
        polls = [ticks] if triggers is None else [ticks, triggers]
        given = asyncio.create_task(self._given.wait())
        try:
            # While a group shares out anew, aiokafka has no answer however long that takes.
            await asyncio.wait([*polls, given], timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*polls, given):
                task.cancel()
            await asyncio.gather(*polls, return_exceptions=True)
        faults = [fault for fault in map(fault_in, polls) if fault is not None]
        found, fired = polled(ticks), {} if triggers is None else polled(triggers)
        # What one of them has read would not be read again; a fault that lasts is met again at once.
        if faults and not found and not fired:
            raise faults[0]
        return found, fired

    async def _hear(self, number: int, records: Sequence[Incoming]) -> None:
        for record in records:
            shard = self._held.shards.get(number)
            if shard is None:
                return
            if record.offset < shard.tick:
                continue  # it was decided while the group shared out anew, and is read once more
            async with self._as_owner(number):
                if ce_type(record.headers) == CE_TYPES[Ownership]:
                    await self._hear_ownership(shard, record)
                    continue
                tick = tick_of(self._parts, record)
                if isinstance(tick, Rejected):
                    await self._parts.reject([tick], self._parts.clock.now())
                else:
                    await self._deciding.tick(shard, tick.at, record.offset + 1)

    async def _hear_all_triggers(self, triggers: Mapping[int, Sequence[Incoming]]) -> None:
        """Shard by shard at once: while the store answers one of them, another is judged."""
        await all_of(self._hear_triggers(number, records) for number, records in triggers.items())

    async def _hear_triggers(self, number: int, records: Sequence[Incoming]) -> None:
        shard = self._held.shards.get(number)
        if shard is not None:
            async with self._as_owner(number):
                await self._deciding.refresh(shard)
                markets = await answer(self._parts, shard, records)
                if markets:
                    await self._deciding.spared(
                        shard, lambda some: begin_at_once(self._parts, some, markets, self._catalog.last)
                    )
                # Not before: the answer and the flips that it leads to go out in one round.
                shard.relay.wake()

    @asynccontextmanager
    async def _as_owner(self, number: int) -> AsyncIterator[None]:
        try:
            yield
        except Fenced as error:
            await self._held.give_way(number, error)
        except BaseException:
            # Half decided: the shard's next owner, which may be this worker, begins again with this record.
            await self._held.let_go(number)
            raise

    async def _hear_ownership(self, shard: Shard, record: Incoming) -> None:
        if record.offset > shard.epoch:
            await self._held.lose(shard.number)

    # --- what is due --------------------------------------------------------------------------------------------------

    def _pause_ms(self, wait: float) -> int:
        """How long news may be waited for: until the next shard is to be looked at."""
        if self._parts.settings.clock == "ticks":
            return int(1000 * wait)
        now = asyncio.get_running_loop().time()
        next_look = min((self._looked.get(number, -wait) + wait for number in self._held.shards), default=now + wait)
        return max(SHORTEST_WAIT_MS, int(1000 * min(wait, next_look - now)))

    async def _look(self, ticked: Container[int], wait: float) -> None:
        """Under the wall clock: ask what is due of shards that have received a tick, and every so often of each other.

        Of those, one at a time: a trigger waits for no more than that.
        """
        now, seen = asyncio.get_running_loop().time(), self._looked
        if now - self._compared >= wait:
            await keep_in_step(self._parts)
            self._compared = now
        waiting = sorted((seen.get(number, -wait), number) for number in self._held.shards if number not in ticked)
        others = [number for since, number in waiting[:1] if now - since >= wait]
        for number in [*(number for number in self._held.shards if number in ticked), *others]:
            shard = self._held.shards.get(number)
            if shard is not None:
                seen[number] = now
                await self._ask_what_is_due(shard)

    async def _ask_what_is_due(self, shard: Shard) -> None:
        """Where something is due, say so by a tick, so that the history can be replayed."""
        now, producer = self._parts.clock.now(), self._parts.producer
        await self._deciding.refresh(shard)
        await self._deciding.ask_clock(shard, now)
        asked = list[bool]()

        async def look(some: Shard) -> None:
            asked.append(self._anything_due(some, now))

        await self._deciding.spared(shard, look)
        if any(asked) or shard.suspended.to_release:
            tick = encode(Tick(at=now), f"{self._topic}/{shard.number}/{now.isoformat()}", now)
            await producer.send_and_wait(self._topic, tick.value, partition=shard.number, headers=tick.headers)

    def _anything_due(self, shard: Shard, now: datetime) -> bool:
        state = state_of(self._parts, shard, now)
        oversee(self._parts.metrics, shard.number, list(state.waiting()), state.leases(), now)
        last = self._catalog.last
        begins = any(anything_begins(self._parts, shard, r, now, last) for r in shard.rosters.values())
        return bool(state.orders or state.due or begins)
