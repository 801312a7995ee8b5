"""How large a run is, how fast its time, and the shop that it happens to."""

from dataclasses import dataclass
from datetime import UTC, datetime

from tests.chaos.rules.reading import shard_of

#: half an hour before the first day of the first market is announced, at the default lead; clocks change in some of the
#: zones a night later
ORIGIN = datetime(2025, 3, 28, 16, 30, tzinfo=UTC).timestamp()
START = "2025-03-30"
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "America/Los_Angeles",
    "Pacific/Auckland",
)
PRODUCTS = ("tea", "coffee", "cocoa", "juice")
LATENESS_HOURS = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """How large the stage is and how fast its time."""

    nodes: int = 3
    workers: int = 3
    clients: int = 3
    #: real seconds of a day
    day_seconds: float = 20.0
    #: hours before midnight at which a day is announced
    lead_hours: int = 18
    #: milliseconds after which a silent worker is replaced: its lease
    session_ms: int = 2000
    partitions: int = 6
    sales_a_second: float = 60.0
    #: share of sales that are sent twice
    twice: float = 0.05
    seed: int = 1
    #: of `tests.chaos.faults.planted`; empty for none
    bug: str = ""
    #: whether one worker's clock can be stepped: it then asks libfaketime for the time, whose lock costs a process of
    #: several threads up to four times the CPU and stalls of a quarter of a second
    clock_can_be_stepped: bool = True

    @property
    def lease(self) -> float:
        return self.session_ms / 1000


def markets(partitions: int) -> dict[str, str]:
    """Market -> zone; names such that the markets lie on different shards."""
    found: dict[str, str] = {}
    for number, zone in enumerate(ZONES):
        city = zone.partition("/")[2].lower().replace("_", "-")
        name = next(
            n for n in (f"{city}-{k}" for k in range(1000)) if shard_of(f"{n}/", partitions) == number % partitions
        )
        found[name] = zone
    return found
