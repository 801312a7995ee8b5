"""The only two places where this package reads the machine's time; every look-up takes `now` as an argument."""

import time
from collections.abc import Callable

#: answers milliseconds since 1970-01-01T00:00Z
Clock = Callable[[], int]


def wall_clock() -> int:
    """Milliseconds since the epoch by the machine's clock: the default of everything that asks for a clock."""
    return time.time_ns() // 1_000_000


def seconds_running() -> float:
    """Seconds on a clock that is never stepped: for staleness and back-off, which are about this process alone."""
    return time.monotonic()
