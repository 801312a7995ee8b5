"""Whether this machine's clock can be trusted: under the wall clock, a worker decides by it what has not begun yet."""

from datetime import timedelta

from controller.errors import FlipsideError
from streams.worker.services import Parts


class ClockWrong(FlipsideError):
    """Two clocks contradict each other by more than can be put up with: the worker ends, so that another decides."""


async def keep_in_step(parts: Parts) -> None:
    """Compare this machine's clock with the store's; raises ClockWrong with both and the way out."""
    before = parts.clock.now()
    told = await parts.store.time()
    after = parts.clock.now()
    # An answer that was long under way proves nothing about the time that it took.
    apart = max(before - told, told - after, timedelta(0)).total_seconds()
    tolerance = parts.settings.clock_tolerance_seconds
    if apart > tolerance:
        raise ClockWrong(
            f"this machine's clock shows {after}, that of Redis {told}: they differ by {apart:.0f} s, more than "
            f"FLIPSIDE_CLOCK_TOLERANCE_SECONDS = {tolerance:g}; mend NTP where it is wrong, then start the worker"
        )
