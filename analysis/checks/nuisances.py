"""What a price should not change, added up by arm, cluster and look: losses, delays, empty shelves, odd sales."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.checks.anytime import ArmSums
from analysis.checks.arm_sums import Adding, ByLook, counted, summed
from analysis.checks.expected_sales import Expected, prices_by_arm
from analysis.checks.surprise import surprising_zeros
from analysis.panel_data.cluster_cells import Chunk
from analysis.panel_data.panel import BoolArray
from analysis.panel_data.study import UnitDays
from controller.definition.experiment import PriceRule

__all__ = ["NAMES", "Nuisance", "Nuisances"]

NAMES = (
    "missing",
    "out_of_stock",
    "stale_hours",
    "late",
    "corrected",
    "surprising_zeros",
    "pieces_per_sale",
    "revenue_per_piece",
)
#: those that are shares of unit-days or of sale events
SHARES = ("missing", "out_of_stock", "late", "corrected", "surprising_zeros")


@dataclass(frozen=True, slots=True)
class Nuisance:
    """One ratio at every look, and as it stands now (the last row)."""

    sums: ArmSums
    #: whether it is known of any cell of the experiment
    known: bool


class Nuisances:
    """What is added up while the cells are read."""

    def __init__(self, looks: Sequence[int], rules: Sequence[PriceRule], known: Expected) -> None:
        self.looks, self.rules, self.expected = tuple(looks), tuple(rules), known
        self.adding = {name: Adding(len(self.looks), share=name in SHARES) for name in NAMES}
        self.known = dict.fromkeys(NAMES, False)

    def add(self, days: UnitDays, chunk: Chunk) -> None:
        """Read the cells of some clusters."""
        begin, units, looks = days.before, chunk.units, self.looks
        state = days.state[begin:, units]
        arms = (state > 0, state == 0)
        cells = [counted(mask, looks) for mask in arms]
        self._missing(days, chunk, arms, cells)
        stock = days.out_of_stock[begin:, units]
        self._share("out_of_stock", stock > 0, stock >= 0, arms, cells, chunk)
        stale = days.stale_hours[begin:, units]
        dated = np.isfinite(stale)
        if dated.any():
            self.known["stale_hours"] = True
            parts = [
                part for mask in arms for part in (summed(stale, mask & dated, looks), counted(mask & dated, looks))
            ]
            self.adding["stale_hours"].add((parts[0], parts[1], parts[2], parts[3]), chunk.starts)
        self._sales(days, chunk, arms)

    def _missing(self, days: UnitDays, chunk: Chunk, arms: tuple[BoolArray, BoolArray], cells: list[ByLook]) -> None:
        begin, units = days.before, chunk.units
        observed = days.observed[begin:, units]
        self._share("missing", ~observed, None, arms, cells, chunk)
        self._share("corrected", days.corrected[begin:, units], None, arms, cells, chunk)
        zeros = surprising_zeros(days.events[:, units], days.observed[:, units], begin)
        # an empty shelf has a check of its own
        zeros &= days.out_of_stock[begin:, units] != 1
        self._share("surprising_zeros", zeros, None, arms, cells, chunk)

    def _share(
        self,
        name: str,
        which: BoolArray,
        among: BoolArray | None,
        arms: tuple[BoolArray, BoolArray],
        cells: list[ByLook],
        chunk: Chunk,
    ) -> None:
        """A share of cells: of all, or of those of which it is known."""
        if among is not None and not among.any():
            return
        self.known[name] = self.known[name] or bool(which.size)
        known = cells if among is None or among.all() else [counted(mask & among, self.looks) for mask in arms]
        found = [counted(mask & which, self.looks) for mask in arms] if which.any() else [0.0, 0.0]
        self.adding[name].add((found[0], known[0], found[1], known[1]), chunk.starts)

    def _sales(self, days: UnitDays, chunk: Chunk, arms: tuple[BoolArray, BoolArray]) -> None:
        begin, units, looks = days.before, chunk.units, self.looks
        observed = days.observed[begin:, units]
        masks = arms if observed.all() else (arms[0] & observed, arms[1] & observed)
        events, late = days.events[begin:, units], days.late[begin:, units]
        sold = [summed(events, mask, looks) for mask in masks]
        behind = [summed(late, mask, looks) for mask in masks] if late.any() else [0.0, 0.0]
        self.known["late"] = True
        self.adding["late"].add((behind[0], sold[0], behind[1], sold[1]), chunk.starts)
        quantity, revenue = days.quantity[begin:, units], days.revenue[begin:, units]
        pieces = [summed(quantity, mask, looks) for mask in masks]
        each = self.expected.pieces[units]
        self.known["pieces_per_sale"] = True
        self.adding["pieces_per_sale"].add((pieces[0], sold[0] * each, pieces[1], sold[1] * each), chunk.starts)
        known = np.isfinite(self.expected.price[units])
        if not known.any():
            return
        self.known["revenue_per_piece"] = True
        prices = prices_by_arm(self.rules, self.expected, units)
        if len(prices) == 2:
            worth: ByLook = pieces[0] * prices[1]
        else:
            state = days.state[begin:, units]
            by_arm = (summed(quantity, masks[0] & (state == arm), looks) for arm in range(1, len(prices)))
            worth = np.sum([one * price for one, price in zip(by_arm, prices[1:], strict=True)], axis=0)
        money = [summed(revenue, mask, looks) * known for mask in masks]
        self.adding["revenue_per_piece"].add((money[0], worth, money[1], pieces[1] * prices[0]), chunk.starts)

    def done(self) -> dict[str, Nuisance]:
        return {name: Nuisance(self.adding[name].done(), self.known[name]) for name in NAMES}
