"""Fast time: a shop in which a day lasts seconds, shared by all processes of a run.

The product runs on its wall-clock paths with a clock of this kind; libfaketime may still step the clock beneath it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

DAY = 86_400.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pace:
    """At the real instant ``started`` (seconds since 1970) the shop's clock shows ``origin``, and runs so fast."""

    started: float
    #: seconds since 1970
    origin: float
    #: seconds of the shop in a real second
    rate: float

    def shop_ms(self, real: float) -> int:
        """The shop's instant, in milliseconds since 1970, at a real one."""
        return round((self.origin + (real - self.started) * self.rate) * 1000)

    def real(self, shop_ms: float) -> float:
        """The real instant at which the shop's clock shows this one."""
        return self.started + (shop_ms / 1000 - self.origin) / self.rate

    def now_ms(self) -> int:
        """What the shop's clock shows by this process's clock."""
        return self.shop_ms(time.time())


class Opening:
    """The shop's clock for processes that are there before it opens: it stands at the origin until a file, written
    once, names the real instant from which on it runs. How long they take to start is the machine's business."""

    def __init__(self, file: Path, origin: float, rate: float) -> None:
        self.file = file
        self.origin = origin
        self.rate = rate
        self._pace: Pace | None = None

    def open(self, started: float) -> Pace:
        """Let the clock run, for every process that looks at the file."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(repr(started))
        draft.rename(self.file)
        return self.pace()

    def pace(self) -> Pace:
        """Raises FileNotFoundError before the opening."""
        if self._pace is None:
            self._pace = Pace(float(self.file.read_text()), self.origin, self.rate)
        return self._pace

    def shop_ms(self, real: float) -> int:
        try:
            return self.pace().shop_ms(real)
        except FileNotFoundError:
            return round(self.origin * 1000)

    def environment(self) -> dict[str, str]:
        return {"CHAOS_OPENING": str(self.file), "CHAOS_ORIGIN": repr(self.origin), "CHAOS_RATE": repr(self.rate)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Opening":
        return cls(
            Path(environment["CHAOS_OPENING"]), float(environment["CHAOS_ORIGIN"]), float(environment["CHAOS_RATE"])
        )


@dataclass(frozen=True, slots=True)
class FastClock:
    """The product's clock port, at a pace."""

    opening: Opening

    def now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self.opening.shop_ms(time.time()))

    def at_brokers(self, instant: datetime) -> datetime | None:
        """The brokers' clocks show real time; before the opening that is no instant of the shop."""
        try:
            pace = self.opening.pace()
        except FileNotFoundError:
            return None
        return EPOCH + timedelta(seconds=pace.real((instant - EPOCH) / timedelta(milliseconds=1)))
