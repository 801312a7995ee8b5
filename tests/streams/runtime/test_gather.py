"""Work for several shards or partitions: none of it is lost because another piece fails."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from controller.errors import CannotReach
from streams.runtime.gather import all_of, one_by_one


class Work:
    """Pieces that note that they were done; those that fail say so."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def piece(self, name: str, fault: BaseException | None = None) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await asyncio.sleep(0)
            if fault is not None:
                raise fault
            self.done.append(name)

        return do


async def test_what_was_read_for_a_shard_is_heard_though_the_shard_before_it_failed() -> None:
    work = Work()
    pieces = [work.piece("a"), work.piece("b", CannotReach("b")), work.piece("c"), work.piece("d", CannotReach("d"))]
    with pytest.raises(CannotReach, match="b"):
        await one_by_one(pieces)
    assert work.done == ["a", "c"]
    with pytest.raises(CannotReach, match="b"):
        await all_of(piece() for piece in pieces)
    assert work.done == ["a", "c", "a", "c"]


async def test_a_cancellation_ends_what_is_done_one_by_one() -> None:
    work = Work()
    with pytest.raises(asyncio.CancelledError):
        await one_by_one([work.piece("a", asyncio.CancelledError()), work.piece("b")])
    assert work.done == []
