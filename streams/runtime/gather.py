"""Several pieces of work of which one that fails must not keep the others from being done."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable


async def all_of(work: Iterable[Awaitable[None]]) -> None:
    """Do all of it at once, and only then say what failed first."""
    for fault in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(fault, BaseException):
            raise fault


async def one_by_one(work: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all of it, one after the other, and only then say what failed first. A cancellation ends it."""
    faults: list[Exception] = []
    for piece in work:
        try:
            await piece()
        except Exception as fault:  # noqa: BLE001 - raised below
            faults.append(fault)
    if faults:
        raise faults[0]
