"""The watermark: up to which instant all sales are counted. All shards of a worker share one reading of it."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.worker.services import Parts


@dataclass(frozen=True, slots=True)
class Watermark:
    """Sales published before ``at`` are all counted; ``offsets`` says up to where, by sale partition."""

    at: datetime
    offsets: Mapping[int, int]
    #: by sale partition: which count of it this was read from
    counts: Mapping[int, str]


class Watermarks:
    """Reads the watermark from the store, once in ``wait`` seconds however many shards ask.

    Each reading takes all sale partitions: one of each shard's own would be quadratic in partitions. One that is
    ``wait`` old is as good as one whose shard took so long to close: what the store holds by then is compared with it.
    """

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._parts = parts
        #: seconds between two readings
        self.wait = 2 * settings.poll_seconds if settings.clock == "ticks" else settings.reconcile_seconds
        self._lateness = timedelta(seconds=settings.lateness_seconds)
        self._reading = asyncio.Lock()
        self._read_at = -math.inf
        self._last: Watermark | None = None

    async def latest(self) -> Watermark | None:
        """None while a partition of sales has not been folded since the store began."""
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now - self._read_at >= self.wait:
                self._last = await self._read()
                self._read_at = now
            return self._last

    def forget(self) -> None:
        """What was read no longer holds: the next to ask reads anew."""
        self._read_at = -math.inf

    async def _read(self) -> Watermark | None:
        inputs = await self._parts.store.caught_up()
        at = [found.at for found in inputs if found.at is not None]
        if len(at) < len(inputs):
            return None
        return Watermark(
            min(at) - self._lateness,
            {p: found.position for p, found in enumerate(inputs)},
            {p: found.counting for p, found in enumerate(inputs)},
        )
