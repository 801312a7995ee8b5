"""Sealed days: those that closed long enough before their market's last take no more sales, partition by partition."""

from collections.abc import Mapping

from controller.errors import CannotReach
from streams.worker.services import Parts

NOTHING: Mapping[str, int] = {}


class Seals:
    """What the partitions that are counted here know of sealed days, as ordinals by market."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: partition -> market -> the last day that takes no more sales
        self._sealed: dict[int, dict[str, int]] = {}
        #: market -> its last closed day
        self.closed: Mapping[str, int] = {}
        #: whether a store that has lost a shard may not know what that has closed
        self.unsure = True

    def of(self, partition: int) -> Mapping[str, int]:
        """Market -> the last day that takes no more sales of a partition."""
        return self._sealed.get(partition, NOTHING)

    async def begin(self, partition: int) -> None:
        """A partition is counted here from now on."""
        self._sealed[partition] = await self._parts.store.sealed(partition)
        self.unsure = True

    def drop(self, partition: int) -> None:
        """A partition is counted elsewhere."""
        self._sealed.pop(partition, None)

    async def follow(self) -> None:
        """Learn what is closed, and seal what that leads to; raises CannotReach while it is not known.

        Once in a while is enough: the store refuses by itself what is sealed before we have learned so.
        """
        self.closed = await self._parts.store.closed_days()
        if self.unsure:
            await self._wait_for_closings()
        last = {market: day - self._parts.settings.revision_days for market, day in self.closed.items()}
        for partition, sealed in list(self._sealed.items()):
            if any(day > sealed.get(market, -1) for market, day in last.items()):
                await self._parts.store.seal(partition, last)
                sealed.update({market: max(day, sealed.get(market, day)) for market, day in last.items()})

    async def _wait_for_closings(self) -> None:
        """Count nothing while a shard is lost whose markets have sealed days.

        Somebody may have published more of its closings, on the way to the log while the store was emptied: a sale of a
        day that they seal would be counted. Whoever rebuilds the shard reads them.
        """
        known = {market for sealed in self._sealed.values() for market in sealed}
        for market in sorted(known - self.closed.keys()):
            shard = self._parts.shard_of(market)
            if not await self._parts.store.restoring.log_positions(shard):
                raise CannotReach(f"what {market} has closed is not known: shard {shard} is lost, and not yet rebuilt")
        self.unsure = False
