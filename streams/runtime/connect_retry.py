"""Waiting for a part that is not there yet: retries with back-off, then one clear error."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from controller.errors import CannotReach

Answer = TypeVar("Answer")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
#: the first attempt may take so long even where less time is given: a slow network is not an absent part
ATTEMPT_SECONDS = 5.0
#: and the last one so long, even where nearly no time is left
LAST_ATTEMPT_SECONDS = 1.0


async def patiently(
    attempt: Callable[[], Awaitable[Answer]],
    part: str,
    address: str,
    timeout: float,
    way_out: str,
    passing: tuple[type[Exception], ...] = (OSError,),
) -> Answer:
    """The answer of ``attempt``; after ``passing`` errors it is tried again until ``timeout`` seconds are over.

    The pauses double from 0.1 s to 5 s; every failure is logged. With a timeout of 0 there is one attempt; it ends at
    most ``LAST_ATTEMPT_SECONDS`` after the timeout, or with the first attempt. Raises CannotReach with part, address,
    last error and way out.
    """
    expected: tuple[type[Exception], ...] = (TimeoutError, *passing)
    loop = asyncio.get_running_loop()
    started = loop.time()
    pause = FIRST_PAUSE_SECONDS
    attempts, reason = 0, "no answer in time"
    while True:
        attempts += 1
        left = started + timeout - loop.time()
        try:
            least = ATTEMPT_SECONDS if attempts == 1 else LAST_ATTEMPT_SECONDS
            return await asyncio.wait_for(attempt(), max(left, least))
        except expected as error:
            reason = str(error) or reason
            left = started + timeout - loop.time()
            if left <= 0:
                spent = loop.time() - started
                tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                raise CannotReach(
                    f"{part} at {address} cannot be reached ({tries} in {spent:.1f} s): {reason}; {way_out}"
                ) from error
        _warn(part, address, reason, min(pause, LONGEST_PAUSE_SECONDS, left))
        await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS, left))
        pause *= 2


def _warn(part: str, address: str, reason: str, pause: float) -> None:
    """A line of the log; on standard error where nobody has said where logs go, because a command's data go out."""
    import structlog  # a tenth of a second, which a command whose broker answers does without

    log = (
        structlog.get_logger()
        if structlog.is_configured()
        else structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    )
    log.warning("waiting", part=part, address=address, error=reason, next_try_seconds=round(pause, 2))
