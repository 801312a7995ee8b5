"""Freed memory of a long-lived process, given back to the system.

glibc keeps what it once gave out below its last used byte: the buffers of the largest fetches, 90 MB in the analysis
under a flood. `malloc_trim` returns it, in 45 ms where there is much and in 1 ms otherwise. Not in the worker: it stays
at 200 MB, and an answer to a competitor's price must not wait so long.
"""

import asyncio
import ctypes

from flipside.serve import Duty

EVERY_SECONDS = 60.0


def giving_back(duty: Duty, every_seconds: float = EVERY_SECONDS) -> Duty:
    """The duty, with freed memory given back while it runs."""

    async def both(stop: asyncio.Event) -> None:
        giving = asyncio.create_task(_give_back(every_seconds))
        try:
            await duty(stop)
        finally:
            giving.cancel()

    return both


async def _give_back(every_seconds: float) -> None:
    """Until it is cancelled; at once where the C library is another one, which has no `malloc_trim`."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(trim, 0)
