"""A store in which something happens once, and how a consumer of a new installation begins in it."""

from collections.abc import Awaitable, Callable
from typing import Any

from controller.errors import CannotReach
from streams.store.memory.store import MemoryStore
from tests.streams.inputs.arrivals import PARTITIONS


class Watched(MemoryStore):
    """A store in which something happens once, after a batch has been folded and before its caller hears of it."""

    def __init__(self) -> None:
        super().__init__(PARTITIONS)
        self.beside: Callable[[], Awaitable[None]] | None = None
        #: how many more questions find no answer
        self.away = 0
        #: how often somebody has asked what is closed
        self.asked = 0

    async def closed_days(self) -> dict[str, int]:
        self.asked += 1
        if self.away:
            self.away -= 1
            raise CannotReach("the store is away")
        return await super().closed_days()

    async def fold_sales(self, *batch: Any, **named: Any) -> bool:
        applied = await super().fold_sales(*batch, **named)
        beside, self.beside = self.beside, None
        if beside is not None:
            await beside()
        return applied

    def forget_inputs(self) -> None:
        """As a server that lost its file."""
        MemoryStore.__init__(self, PARTITIONS)


Mend = Callable[[str, int, int | None], Awaitable[None]]


def begin_at_zero(store: MemoryStore) -> Mend:
    """A new installation."""

    async def mend(topic: str, partition: int, _: int | None) -> None:
        if not await store.restoring.with_position(topic, [partition]):
            await store.restoring.begin_input(topic, partition, "token")
            await store.restoring.finish_input(topic, partition, "token", 0)

    return mend
