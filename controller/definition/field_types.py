"""The alphabet of every message: identifiers, money, instants, and one strict base for all models.

Strict, because a price controller must not guess: ``"7"`` is no number, ``0`` is no instant, an unknown field is a
mistake of the sender and not a thing to drop.
"""

import hashlib
import json
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

#: Letters, digits, ``. _ ~ -``; ASCII only, so that two ids that look alike are alike.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$"
#: ``market/product``
UNIT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}/[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
UnitId = Annotated[str, StringConstraints(pattern=UNIT_PATTERN)]
#: a cluster is named by the owner, or after the market, product or unit that it stands for
ClusterId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~/-]{0,128}$")]
EventId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=500)]
#: a text that others write and people read: no control characters, so that it is what it looks like
PlainText = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


#: every instant of a message lies in [EARLIEST, LATEST): days, leases and windows around it are dates and 64 bits too
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: most that a unit may sell, take or cost on a day, a single sale included: exact in a double, and 9,000 of them fit
#: into 64 bits
MOST_A_DAY = 10**15


def within_bounds(instant: datetime) -> datetime:
    """The aware instant as it is; raises ValueError for one that no message may hold."""
    if not EARLIEST <= instant < LATEST:
        raise ValueError(f"Input should be an instant from {EARLIEST:%Y-%m-%d} on and before {LATEST:%Y-%m-%d}")
    return instant


def _in_utc(instant: datetime) -> datetime:
    return within_bounds(instant).astimezone(UTC)


#: an aware instant, held in UTC
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
#: the same, as it was written: in its sender's offset
WrittenInstant = Annotated[AwareDatetime, AfterValidator(within_bounds)]
#: what sales of a unit and day add up to
DayTotal = Annotated[int, Field(ge=0, le=MOST_A_DAY)]
#: a local day
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2200, 1, 1))]
#: number of a partition, as a name in JSON
PartitionName = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}$")]
#: hex digits, and what tests call one
Hash = Annotated[str, StringConstraints(max_length=128)]
#: version of a definition: 32 bits, as in every table that is exported
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: epochs, sequence numbers, offsets: whole numbers that a double holds too
Ordinal = Annotated[int, Field(ge=0, le=2**53)]


_MINUTE = r"([01][0-9]|2[0-3]):[0-5][0-9]"
INSTANT_PATTERN = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_MINUTE}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_MINUTE})$"
#: an instant as text, as nearly everybody spells it: read by `instant_of` in a third of the time
SpelledInstant = Annotated[str, StringConstraints(pattern=INSTANT_PATTERN)]


def instant_of(spelled: str) -> datetime:
    """A `SpelledInstant` as an `Instant`; raises ValueError or OverflowError for one that never was, or is too far."""
    instant = within_bounds(datetime.fromisoformat(spelled))
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


class Message(BaseModel):
    """Base of all models: strict, frozen, and closed to unknown fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", ser_json_timedelta="float", allow_inf_nan=False)


def market_of(unit: str) -> str:
    """The market of a unit ``market/product``."""
    return unit.partition("/")[0]


def product_of(unit: str) -> str:
    """The product of a unit ``market/product``."""
    return unit.partition("/")[2]


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: keys sorted, no white space, UTF-8. What hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def event_id(name: str, ending: str = "") -> str:
    """An id of at most 200 characters: the name as it is, or its hash where the longest names that are allowed meet."""
    whole = f"{name}{ending}"
    return whole if len(whole) <= 200 else f"sha256.{sha256_hex(name.encode())}{ending}"


def milliseconds(instant: datetime) -> int:
    """Milliseconds since the epoch: how instants are compared inside the store."""
    return round(instant.timestamp() * 1000)


def from_milliseconds(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


_EARLIEST_MS, _LATEST_MS = milliseconds(EARLIEST), milliseconds(LATEST)


def stamped_at(timestamp_ms: int) -> datetime | None:
    """The instant that a record's timestamp says; None where none can be meant: its sender may write any 64 bits."""
    return from_milliseconds(timestamp_ms) if _EARLIEST_MS <= timestamp_ms < _LATEST_MS else None
