"""Blackouts: when a price may not change. A blackout limits actions; it does not leave out data by itself."""

from collections.abc import Iterable
from datetime import datetime

from controller.definition.field_types import market_of
from controller.messages.inputs import Blackout


def covers(blackout: Blackout, unit: str, cluster: str) -> bool:
    """Whether a unit of a cluster is in the scope of a window."""
    kind, name = blackout.scope.kind, blackout.scope.name
    return kind == "global" or name == {"market": market_of(unit), "cluster": cluster, "unit": unit}[kind]


def binding(blackouts: Iterable[Blackout], unit: str, cluster: str, instant: datetime) -> Blackout | None:
    """The window that forbids a change of this unit's price at this instant: the one that ends last, ties by id."""
    hits = [b for b in blackouts if b.starts_at <= instant < b.ends_at and covers(b, unit, cluster)]
    return max(hits, key=lambda b: (b.ends_at, b.id), default=None)
