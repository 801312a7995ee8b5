"""Closings that were read before what they speak of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from controller.messages.events import PeriodClosed

#: partition -> next offset
Positions = Mapping[Any, int]


@dataclass(slots=True)
class ClosingsHeld:
    """Closings that were read, but not yet everything that was written before them."""

    held: list[tuple[Positions, PeriodClosed]] = field(default_factory=list)

    def hold(self, closings: Iterable[PeriodClosed], ends: Positions) -> None:
        """Hold closings until every partition was read up to ``ends``, taken after the closings were read."""
        self.held += [(ends, closing) for closing in closings]

    def release(self, positions: Positions) -> list[PeriodClosed]:
        """The closings that now count, by market and day.

        A market's days are closed in order: an earlier closing that was read later counts with the later one.
        """
        reached: dict[str, date] = {}
        passed: dict[int, bool] = {}
        for ends, closing in self.held:
            if id(ends) not in passed:
                passed[id(ends)] = all(positions[partition] >= end for partition, end in ends.items())
            if passed[id(ends)]:
                reached[closing.market] = max(reached.get(closing.market, date.min), closing.day)
        released = [
            closing
            for ends, closing in self.held
            if passed[id(ends)] or closing.day < reached.get(closing.market, date.min)
        ]
        self.held = [
            (ends, closing)
            for ends, closing in self.held
            if not passed[id(ends)] and closing.day >= reached.get(closing.market, date.min)
        ]
        return sorted(released, key=lambda closing: (closing.market, closing.day, closing.revision))
