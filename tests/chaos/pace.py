"""Fast time: a shop in which a day lasts seconds, shared by all processes of a run.

The product runs on its wall-clock paths with a clock of this kind; libfaketime may still step the clock beneath it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

DAY = 86_400.0


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

    def environment(self) -> dict[str, str]:
        return {f"CHAOS_{name.upper()}": repr(value) for name, value in asdict(self).items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Pace":
        return cls(*(float(environment[f"CHAOS_{name}"]) for name in ("STARTED", "ORIGIN", "RATE")))


@dataclass(frozen=True, slots=True)
class FastClock:
    """The product's clock port, at a pace."""

    pace: Pace

    def now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.pace.now_ms())
