"""Time as a port. Nothing else in the house reads the wall clock."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from controller.definition.field_types import EARLIEST


class Clock(Protocol):
    """Tells what time it is for the decisions: the wall's, or that of a recorded or simulated history."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def at_brokers(self, instant: datetime) -> datetime | None:
        """What the brokers' clocks show at an instant of this clock; None where they have nothing to do with it."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def at_brokers(self, instant: datetime) -> datetime | None:
        return instant


class TickClock:
    """The clock of a topic of ticks: it stands still until the next tick moves it forward, and never runs back."""

    def __init__(self) -> None:
        # A watermark, a week earlier at most, and the day before it are instants of messages too.
        self._now = EARLIEST + timedelta(days=9)

    def now(self) -> datetime:
        return self._now

    def advance(self, to: datetime) -> None:
        self._now = max(self._now, to)

    def at_brokers(self, instant: datetime) -> datetime | None:
        """None: a history is replayed in its own time."""
        return None
