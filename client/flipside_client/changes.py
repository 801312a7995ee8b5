"""What a callback is told, and when. Pure: the time is an argument, the caller says when to look."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

from flipside_client.fold import Fold, Price
from flipside_client.record import Assignment


@dataclass(frozen=True, slots=True)
class Change:
    """One notice about one unit.

    ``announced``: a record was taken that starts later; ``old`` holds now and goes on holding, ``new`` will hold from
    ``at_ms`` on. ``effective``: what holds has changed, by a record that came, a start, a lease that ran out or a
    tombstone; ``old`` is what was last told of (or held when the client became ready), ``new`` holds now.
    """

    kind: Literal["announced", "effective"]
    old: Price
    new: Price
    #: when it takes effect (announced) or was noticed (effective)
    at_ms: int

    @property
    def unit(self) -> str:
        return self.new.unit

    @property
    def price_changes(self) -> bool:
        """Whether arm or price differ; False where only the assignment was renewed."""
        return (self.old.arm, self.old.price_minor) != (self.new.arm, self.new.price_minor)


class Changes:
    """Compares what holds with what was told. Each change of what holds is told once, each announcement once."""

    def __init__(self, fold: Fold, now_ms: int) -> None:
        self._fold = fold
        self._told: dict[str, Price] = {}
        self._due: list[tuple[int, str]] = []
        for unit in fold.units():
            self._remember(fold.price(unit, now_ms))

    def next_due_ms(self) -> int | None:
        """When the next known start or end of a lease comes; None while none is known."""
        return self._due[0][0] if self._due else None

    def taken(self, unit: str, record: Assignment | None, now_ms: int) -> Iterator[Change]:
        """A record (None: a tombstone) of the unit was applied."""
        yield from self._compare(unit, now_ms)
        if record is not None and record.effective_at_ms > now_ms:
            at_ms = record.effective_at_ms
            heappush(self._due, (at_ms, unit))
            yield Change("announced", self._told[unit], self._fold.price(unit, at_ms), at_ms)

    def due(self, now_ms: int) -> Iterator[Change]:
        """Starts and ends of leases up to ``now_ms``; a unit that passed several is told its present answer once."""
        units: dict[str, None] = {}
        while self._due and self._due[0][0] <= now_ms:
            units[heappop(self._due)[1]] = None
        for unit in units:
            yield from self._compare(unit, now_ms)

    def _compare(self, unit: str, now_ms: int) -> Iterator[Change]:
        new = self._fold.price(unit, now_ms)
        old = self._told.get(unit) or Price(unit, None, None, None, None, "unknown", None)
        self._remember(new)
        if (old.assignment_id, old.arm, old.price_minor) != (new.assignment_id, new.arm, new.price_minor):
            yield Change("effective", old, new, now_ms)

    def _remember(self, price: Price) -> None:
        self._told[price.unit] = price
        if price.until_ms is not None:
            heappush(self._due, (price.until_ms, price.unit))
