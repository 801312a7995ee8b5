"""Having the workers rebuild what is in Redis: their state is dropped, and they fold log and inputs again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.errors import FlipsideError
from streams.kafka.connection import reach_kafka
from streams.recovery.checkpoints import drop_checkpoints
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore

POLL_SECONDS = 0.05
INPUTS = ("sale", "competitor-price")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was rebuilt, and how long it took."""

    shards: tuple[int, ...]
    #: topic and partition
    inputs: tuple[tuple[str, int], ...]
    seconds: float


async def rebuild(
    settings: Settings,
    shards: Sequence[int],
    inputs: Sequence[tuple[str, int]],
    timeout: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Rebuilt:
    """Drop these parts of the state and return once workers have built them again; assignments stay valid meanwhile.

    Raises CannotReach, and FlipsideError where no worker does it within ``timeout`` seconds.
    """
    await reach_kafka(settings)
    store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
    loop = asyncio.get_running_loop()
    try:
        await store.reach(settings.connect_timeout_seconds)
        began = loop.time()
        # By hand means: from the log itself. What a checkpoint holds was taken from the store that is now in doubt.
        await drop_checkpoints(settings, shards)
        for shard in shards:
            await store.restoring.forget_shard(shard)
        for topic, partition in inputs:
            await store.restoring.forget_input(topic, partition)
        total = len(shards) + len(inputs)
        while True:
            there = [shard for shard in shards if await store.restoring.log_positions(shard)]
            counted = [(topic, p) for topic, p in inputs if await store.restoring.with_position(topic, [p])]
            done = len(there) + len(counted)
            progress(done, total)
            if done == total:
                return Rebuilt(tuple(shards), tuple(inputs), round(loop.time() - began, 3))
            if loop.time() - began > timeout:
                raise FlipsideError(
                    f"{total - done} of {total} parts are not rebuilt after {timeout:g} s: does a worker run with this "
                    "namespace? What was dropped is rebuilt as soon as one does"
                )
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await store.close()
