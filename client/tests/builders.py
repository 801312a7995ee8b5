"""Assignments for tests, spelled by the model that Flipside publishes with."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from controller.messages.events import Assignment as Published
from flipside_client.record import Assignment, read

UNIT = "berlin/sku-1"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of March 2026, UTC; day 0 is the last of February."""
    return datetime(2026, 2, 28, tzinfo=UTC) + timedelta(days=day, hours=hour, minutes=minute)


def published(day: int, arm: str = "low", **other: Any) -> Published:
    """The assignment of a unit for a day of March, announced an hour before midnight."""
    unit = other.get("unit", UNIT)
    fields: dict[str, Any] = {
        "id": f"spring.1/{day}/{unit}",
        "unit": unit,
        "cluster": unit,
        "experiment": "spring",
        "experiment_version": 1,
        "design_hash": "0" * 64,
        "block": day,
        "day": date(2026, 2, 28) + timedelta(days=day),
        "arm": arm,
        "planned_arm": arm,
        "price_minor": {"control": 1000, "low": 900, "high": 1100}.get(arm),
        "currency": "EUR",
        "effective_at": at(day),
        "expires_at": at(day + 1),
        "decided_at": at(day, -1),
        "epoch": 7,
        "sequence": day,
        "reason": {"code": "scheduled"},
    }
    return Published.model_validate({**fields, **other})


def wire(day: int, arm: str = "low", **other: Any) -> bytes:
    """The same as it lies on the topic."""
    return published(day, arm, **other).model_dump_json().encode()


def assignment(day: int, arm: str = "low", **other: Any) -> Assignment:
    """The same as the client reads it."""
    return read(None, wire(day, arm, **other))
