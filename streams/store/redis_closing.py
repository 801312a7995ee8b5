"""What `streams.store.closing_state` asks for, on Redis: three hashes of a shard."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from controller.silence import Listing, Unsold
from streams.store.closing_state import (
    Counts,
    Place,
    counts_of,
    counts_text,
    listing_of,
    listing_text,
    place_of,
    place_text,
    unsold_of,
    unsold_text,
)

if TYPE_CHECKING:
    from streams.store.link import Link

FIELDS_PER_CALL = 2000


class RedisClosing:
    """See `streams.store.closing_state.ClosingStore`."""

    def __init__(self, link: "Link") -> None:
        self._redis, self._ask, self._run, self._sound = link._redis, link._ask, link._run, link._sound
        self._shard = link._shard

    async def listings(self, shard: int) -> dict[str, Listing]:
        async with self._sound(self._shard(shard, "listings")):
            return {unit: listing_of(text) for unit, text in (await self._texts(shard, "listings")).items()}

    async def put_listings(self, shard: int, epoch: int, listings: Mapping[str, Listing]) -> None:
        await self._put(shard, epoch, "listings", {unit: listing_text(one) for unit, one in listings.items()})

    async def counts(self, shard: int) -> dict[str, dict[int, dict[int, int]]]:
        async with self._sound(self._shard(shard, "counts")):
            return {market: counts_of(text) for market, text in (await self._texts(shard, "counts")).items()}

    async def put_counts(self, shard: int, epoch: int, counts: Counts) -> None:
        await self._put(shard, epoch, "counts", {market: counts_text(days) for market, days in counts.items()})

    async def unsold(self, shard: int) -> dict[Place, Unsold]:
        async with self._sound(self._shard(shard, "unsold")):
            texts = {place_of(name): text for name, text in (await self._texts(shard, "unsold")).items()}
            return {place: unsold_of(place[0], text) for place, text in texts.items()}

    async def put_unsold(self, shard: int, epoch: int, days: Mapping[Place, Unsold | None]) -> None:
        await self._put(
            shard,
            epoch,
            "unsold",
            {place_text(place): None if one is None else unsold_text(place[0], one) for place, one in days.items()},
        )

    async def _texts(self, shard: int, name: str) -> dict[str, str]:
        return dict(await self._ask(self._redis.hgetall(self._shard(shard, name))))

    async def _put(self, shard: int, epoch: int, name: str, fields: Mapping[str, str | None]) -> None:
        keys = [self._shard(shard, "epoch"), self._shard(shard, name)]
        pairs = list(fields.items())
        for start in range(0, len(pairs), FIELDS_PER_CALL):
            some = pairs[start : start + FIELDS_PER_CALL]
            await self._run("owned_replace", keys, [epoch, *(part for k, v in some for part in (k, v or ""))])
