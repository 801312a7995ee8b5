"""Sales as a consumer has them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.messages.inputs import CatalogEntry
from streams.worker.services import partition_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MONDAY = NOON.date().toordinal()
CATALOG = {
    unit: CatalogEntry(unit=unit, time_zone="Europe/Berlin", currency="EUR", list_price_minor=100)
    for unit in ("de/a", "de/b")
}
PARTITIONS = 4


@dataclass(frozen=True)
class Arrived:
    """A record of the sale topic."""

    value: bytes | None
    offset: int
    partition: int
    timestamp: int = int(NOON.timestamp() * 1000)
    topic: str = "pricing.sale.v1"
    key: bytes | None = b"de/a"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def sale(id: str = "s1", unit: str = "de/a", offset: int = 0, *, at: datetime = NOON, **changed: object) -> Arrived:
    """A good sale; ``changed`` replaces fields, and leaves those out that are ``...``."""
    body = {
        "id": id, "unit": unit, "occurred_at": at.isoformat(), "quantity": 2, "price_minor": 90, "currency": "EUR",
    } | changed  # fmt: skip
    value = {name: found for name, found in body.items() if found is not ...}
    home = partition_of(str(value.get("unit")).encode(), PARTITIONS)
    return Arrived(json.dumps(value).encode(), offset, home, key=unit.encode())
