"""Waiting for a part that is not there yet: retries with back-off, then one clear error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from controller.errors import CannotReach

Answer = TypeVar("Answer")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
#: one attempt may take so long even where nearly no time is left: a slow network is not an absent part
ATTEMPT_SECONDS = 5.0

log = structlog.get_logger()


async def patiently(
    attempt: Callable[[], Awaitable[Answer]],
    part: str,
    address: str,
    timeout: float,
    way_out: str,
    passing: tuple[type[Exception], ...] = (OSError,),
) -> Answer:
    """The answer of ``attempt``; after ``passing`` errors it is tried again until ``timeout`` seconds are over.

    The pauses double from 0.1 s to 5 s; every failure is logged. With a timeout of 0 there is one attempt. Raises
    CannotReach with part, address, last error and way out.
    """
    expected: tuple[type[Exception], ...] = (TimeoutError, *passing)
    loop = asyncio.get_running_loop()
    started = loop.time()
    pause = FIRST_PAUSE_SECONDS
    attempts = 0
    while True:
        attempts += 1
        left = started + timeout - loop.time()
        try:
            return await asyncio.wait_for(attempt(), max(left, ATTEMPT_SECONDS))
        except expected as error:
            reason = str(error) or "no answer in time"
            left = started + timeout - loop.time()
            if left <= 0:
                spent = loop.time() - started
                tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                raise CannotReach(
                    f"{part} at {address} cannot be reached ({tries} in {spent:.1f} s): {reason}; {way_out}"
                ) from error
        pause = min(pause, LONGEST_PAUSE_SECONDS, left)
        log.warning("waiting", part=part, address=address, error=reason, next_try_seconds=round(pause, 2))
        await asyncio.sleep(pause)
        pause *= 2
