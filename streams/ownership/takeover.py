"""Taking over and letting go: which shards a worker holds, and the duties that it keeps going for each.

Whenever a group shares its partitions out anew, every member lets go of all that it has, and gets most of it back a
moment later. What it lets go of so is put to rest: nothing is decided, published or closed for it, and nobody else has
it either until all members rest. What comes back goes on where it rested, unless the log or the store says that
somebody has had it meanwhile, or that the store is not what it was; then it is taken over like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.errors import CannotReach
from controller.messages.topics import TICK
from streams.closing.day_close import Closing
from streams.closing.watermark import Watermarks
from streams.control.catalog import Catalog
from streams.flips.shard import Shard
from streams.flips.trigger_answers import enrolments
from streams.flips.units_shown import UnitsShown
from streams.outputs.outbox_relay import Relay
from streams.ownership.claims import Lost, append_ownership
from streams.recovery.rebuild import Rebuild, Watch
from streams.runtime.gather import all_of
from streams.store import Fenced
from streams.worker.last_line import Suspended
from streams.worker.services import Parts
from streams.worker.shard_metrics import unseen

BACKGROUND = ("relay", "closing", "watch", "units-shown")
#: a task that has not ended by then is cancelled again
CANCEL_AGAIN_SECONDS = 0.05


class Holdings:
    """The shards of one worker."""

    def __init__(
        self,
        parts: Parts,
        catalog: Catalog,
        rebuild: Rebuild,
        consumer: AIOKafkaConsumer,
        at_rest: Callable[[int], None],
    ) -> None:
        """``consumer`` is sent to where each shard goes on; ``at_rest`` is told of each one that does not."""
        self._parts = parts
        self._catalog = catalog
        self._rebuild = rebuild
        self._consumer = consumer
        self._at_rest = at_rest
        self._watermarks = Watermarks(parts)
        #: those that are decided for
        self.shards: dict[int, Shard] = {}
        self._resting: dict[int, Shard] = {}
        #: those that a newer owner has
        self._lost = Lost(parts.settings.session_timeout_ms / 1000)
        #: shard -> the epoch under which the store refused a background duty, and why
        self._fenced: dict[int, tuple[int, Fenced]] = {}
        #: how often the group has begun to share out anew
        self._rounds = 0
        self._sharing = False

    async def rest(self) -> None:
        """The group shares out anew: stand still."""
        self._rounds += 1
        self._sharing = True
        resting = list(self.shards.values())
        self._resting |= self.shards
        self.shards.clear()
        for shard in resting:
            self._at_rest(shard.number)
        await _ended(task for shard in resting for task in shard.tasks)

    def given(self, numbers: Iterable[int]) -> None:
        """The group has shared out: what is not among these shards is somebody else's now."""
        self._sharing = False
        self._lost.clear()
        for number in self._resting.keys() - set(numbers):
            self._gone(self._resting.pop(number))

    async def take_over(self, numbers: Iterable[int]) -> None:
        """Hold all of these shards, but for those that a newer owner has; none while the group shares out."""
        if self._sharing:
            return
        while self._fenced:
            number, (epoch, error) = self._fenced.popitem()
            # One that was taken over anew meanwhile is not the one that was refused.
            if number in self.shards and self.shards[number].epoch == epoch:
                await self.give_way(number, error)
        missing = [number for number in sorted(numbers) if number not in self.shards and number not in self._lost]
        await all_of(self._take_over(number) for number in missing)

    async def _take_over(self, number: int) -> None:
        before = self._rounds
        shard = self._resting.get(number)
        kept = shard is not None and await self._still_ours(shard)
        if shard is None or not kept:
            shard = await self._claimed(number)
        if shard is None or before != self._rounds:
            return  # taken away meanwhile: its present owner, which may be this worker, begins again
        # Nothing awaited from here on: a tick that is read while nobody holds its shard is passed over.
        self._resting.pop(number, None)
        self._consumer.seek(TopicPartition(self._parts.topic(TICK), number), shard.tick)
        self._go_on(shard)
        event = "shard kept" if kept else "shard taken over"
        self._parts.log.info(event, shard=number, epoch=shard.epoch, tick=shard.tick)

    async def _still_ours(self, shard: Shard) -> bool:
        """Whether a shard that rested is as it was; only what was read before it rested cannot have a new owner."""
        try:
            if await self._rebuild.succeeded(shard.number, max(shard.epoch, shard.tick - 1)):
                return False
            await self._parts.store.restoring.stand(shard.number, shard.epoch)
        except Fenced:
            return False
        return True

    async def _claimed(self, number: int) -> Shard | None:
        parts = self._parts
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
            await self.let_go(number)
            return None
        suspended = Suspended(number, epoch)
        shard = Shard(number, epoch, tick, *self._duties(suspended), [], suspended)
        shard.plans = await parts.store.plans(number)
        shard.trigger, clusters = await parts.store.triggers.enrolments(number)
        shard.enrolments = enrolments(clusters)
        return shard

    async def _claim(self, number: int, epoch: int) -> int:
        """The store's word that a shard is ours, and its first tick; raises Fenced where the log knows better."""
        if await self._rebuild.succeeded(number, epoch):
            raise Fenced(f"shard {number} was claimed after epoch {epoch}", newer=True)
        return await self._parts.store.claim(number, epoch)

    def _duties(self, suspended: Suspended) -> tuple[Relay, Closing]:
        number, epoch = suspended.shard, suspended.epoch
        return Relay(self._parts, number, epoch, suspended), Closing(
            self._parts, self._catalog, number, epoch, suspended, self._watermarks
        )

    def _go_on(self, shard: Shard) -> None:
        number, epoch, metrics = shard.number, shard.epoch, self._parts.metrics
        # Those of before it rested were cut off in the middle.
        shard.relay, shard.closing = self._duties(shard.suspended)
        watch = Watch(self._parts, self._rebuild, number, epoch)
        shard.tasks = [
            asyncio.create_task(self._guarded(shard, name, run), name=f"{name}-{number}")
            for name, run in zip(
                BACKGROUND,
                (shard.relay.run, shard.closing.run, watch.run, UnitsShown(self._parts, shard).run),
                strict=True,
            )
        ]
        self.shards[number] = shard
        metrics.shards_owned.set(len(self.shards))
        metrics.epoch.set(max(held.epoch for held in self.shards.values()))

    async def let_go(self, number: int) -> None:
        shard = self.shards.pop(number, None) or self._resting.pop(number, None)
        if shard is not None:
            self._at_rest(number)
            await _ended(shard.tasks)
            self._gone(shard)

    async def let_all_go(self) -> None:
        await self.rest()
        self.given(())

    def _gone(self, shard: Shard) -> None:
        self._parts.metrics.shards_owned.set(len(self.shards))
        unseen(self._parts.metrics, shard.number)
        self._parts.log.info("shard let go", shard=shard.number, epoch=shard.epoch)

    async def lose(self, number: int) -> None:
        """A newer owner has it: not ours, unless that one turns out to be gone."""
        self._lost.add(number)
        await self.let_go(number)

    async def give_way(self, number: int, error: Fenced) -> None:
        """Let a shard go that the store does not know as ours; claim it again only if no newer owner has it."""
        self._parts.metrics.fenced.inc()
        self._parts.log.warning("fenced", shard=number, newer_owner=error.newer, error=str(error))
        if error.newer:
            self._lost.add(number)
        await self.let_go(number)

    async def _guarded(self, shard: Shard, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep a background duty going through passing faults; a fence ends it for good."""
        pause = 0.1
        while True:
            try:
                await run()
            except asyncio.CancelledError:
                raise
            except Fenced as error:
                self._fenced[shard.number] = (shard.epoch, error)
                return
            except Exception:  # whatever passes must not end the shard's duties; it is logged, counted and tried again
                self._parts.log.exception("tried again", duty=name, shard=shard.number, pause_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    under_way = set(tasks)
    while under_way:
        # Again and again: a library may swallow a cancellation that comes together with its answer, or its own timeout.
        for task in under_way:
            task.cancel()
        _, under_way = await asyncio.wait(under_way, timeout=CANCEL_AGAIN_SECONDS)
