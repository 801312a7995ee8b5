"""The alphabet of every message: identifiers, money, instants, and one strict base for all models.

Strict, because a price controller must not guess: ``"7"`` is no number, ``0`` is no instant, an unknown field is a
mistake of the sender and not a thing to drop.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

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
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


def _in_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("Input should be an instant between the years 1 and 9999 in UTC") from error


#: an aware instant, held in UTC
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]


_MINUTE = r"([01][0-9]|2[0-3]):[0-5][0-9]"
INSTANT_PATTERN = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_MINUTE}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_MINUTE})$"
#: an instant as text, as nearly everybody spells it: read by `instant_of` in a third of the time
SpelledInstant = Annotated[str, StringConstraints(pattern=INSTANT_PATTERN)]


def instant_of(spelled: str) -> datetime:
    """A `SpelledInstant` as an `Instant`; raises ValueError or OverflowError for one that never was."""
    instant = datetime.fromisoformat(spelled)
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


class Message(BaseModel):
    """Base of all models: strict, frozen, and closed to unknown fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", ser_json_timedelta="float")


def market_of(unit: str) -> str:
    """The market of a unit ``market/product``."""
    return unit.partition("/")[0]


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
