"""What `streams.store.closing_state` asks for, in this process's memory."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from controller.silence import Listing, Unsold
from streams.store.closing_state import Counts, Place


class ClosingShard(Protocol):
    """What is needed of a shard in memory."""

    listings: dict[str, Listing]
    counts: dict[str, dict[int, dict[int, int]]]
    unsold: dict[Place, Unsold]

    def own(self, epoch: int) -> None: ...


class MemoryClosing:
    """See `streams.store.closing_state.ClosingStore`; shares its state with the store that it belongs to."""

    def __init__(self, shards: Sequence[ClosingShard]) -> None:
        self._shards = shards

    async def listings(self, shard: int) -> dict[str, Listing]:
        return dict(self._shards[shard].listings)

    async def put_listings(self, shard: int, epoch: int, listings: Mapping[str, Listing]) -> None:
        self._owned(shard, epoch).listings.update(listings)

    async def counts(self, shard: int) -> dict[str, dict[int, dict[int, int]]]:
        return {
            market: {day: dict(counts) for day, counts in days.items()}
            for market, days in self._shards[shard].counts.items()
        }

    async def put_counts(self, shard: int, epoch: int, counts: Counts) -> None:
        held = self._owned(shard, epoch).counts
        for market, days in counts.items():
            held[market] = {day: dict(by_partition) for day, by_partition in days.items()}

    async def unsold(self, shard: int) -> dict[Place, Unsold]:
        return dict(self._shards[shard].unsold)

    async def put_unsold(self, shard: int, epoch: int, days: Mapping[Place, Unsold | None]) -> None:
        held = self._owned(shard, epoch).unsold
        for place, found in days.items():
            if found is None:
                held.pop(place, None)
            else:
                held[place] = found

    def _owned(self, shard: int, epoch: int) -> ClosingShard:
        held = self._shards[shard]
        held.own(epoch)
        return held
