"""Block designs within a panel: complete outcomes, controls first, one day from which the treated stay treated.

The weighted estimators (DID, SC, DIFP, SDID) are defined on a block. A staggered panel is one block per cohort, each
against the units that are never treated; a switchback is no block at all.
"""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from controller.errors import InvalidPanel, NotEstimable


@dataclass(frozen=True, slots=True)
class Block:
    """One cohort and the units that are never treated."""

    #: (N, T), complete; controls in the first rows, pre-periods in the first columns
    outcome: FloatArray
    n_control: int
    n_pre: int
    #: (N,), labels of the rows
    units: tuple[str, ...]
    #: (T,), labels of the columns
    periods: tuple[str, ...]
    #: (N,), rows of the panel, so that cohorts that share controls can be told so
    rows: IntArray

    @property
    def n_treated(self) -> int:
        """N1."""
        return len(self.units) - self.n_control

    @property
    def n_post(self) -> int:
        """T1."""
        return len(self.periods) - self.n_pre

    @property
    def n_treated_cells(self) -> int:
        """N1 T1: the weight of a cohort's effect in the overall effect."""
        return self.n_treated * self.n_post


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The blocks of a panel, earliest first, and what had to be said about taking them out of it."""

    blocks: tuple[Block, ...]
    #: sentences for the reader of the estimate
    notes: tuple[str, ...] = ()

    @property
    def shares(self) -> FloatArray:
        """(C,), each cohort's share of the treated cells."""
        cells = np.array([block.n_treated_cells for block in self.blocks], dtype=np.float64)
        shares: FloatArray = cells / cells.sum()
        return shares


def check_panel(panel: Panel) -> None:
    """Refuse what no estimator can use.

    Raises:
        InvalidPanel: naming the unit or period and the rule.

    """
    usable = panel.usable
    if not usable.any():
        raise InvalidPanel("no cell of the panel is usable: each is missing, of unknown arm, or left out")
    _refuse_first(
        panel, ~np.any(np.isfinite(panel.outcome), axis=1), "has no outcome in any period: leave the unit out"
    )
    treated = panel.treated & usable
    if not treated.any():
        raise InvalidPanel("no usable cell is treated: there is no effect to estimate (is the treatment column right?)")
    if not (usable & ~treated).any():
        raise InvalidPanel("every usable cell is treated: an effect needs control cells to compare with")
    # no copy of the usable cells: a large panel is a third of a gigabyte
    where = True if usable.all() else usable
    lowest = float(np.min(panel.outcome, where=where, initial=np.inf))
    if lowest == float(np.max(panel.outcome, where=where, initial=-np.inf)):
        raise InvalidPanel(f"the outcome is {lowest:g} in every usable cell: a constant outcome has no effect")
    _refuse_first(
        panel,
        np.any(treated, axis=1) & ~np.any(usable & ~treated, axis=1),
        "is treated from the first period on: without a period before the treatment it has no counterfactual; "
        "leave the unit out, or add earlier periods",
    )


def _refuse_first(panel: Panel, wrong: BoolArray, rule: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        others = int(wrong.sum()) - 1
        raise InvalidPanel(f"unit {panel.units[row]} (row {row + 1}{f', and {others} more' if others else ''}) {rule}")


def cohorts_of(panel: Panel) -> Cohorts:
    """Cut a panel into blocks.

    Periods in which no cell is usable (a washout after the start, a blackout of all) are dropped; any other missing
    cell is refused, because a weighted double difference has no place for it.

    Raises:
        InvalidPanel: what `check_panel` refuses.
        NotEstimable: no block design (a switchback), missing cells, no unit that is never treated, or one pre-period.

    """
    check_panel(panel)
    usable, treated = panel.usable, panel.treated
    kept: BoolArray = np.any(usable, axis=0)
    notes = []
    if not kept.all():
        dropped = [panel.periods[k] for k in np.flatnonzero(~kept)]
        notes.append(f"{len(dropped)} period(s) without a usable cell are dropped, from {dropped[0]} to {dropped[-1]}")
    _refuse_missing(panel, usable[:, kept], kept)
    path = treated[:, kept]
    back = path[:, :-1] & ~path[:, 1:]
    if back.any():
        row, column = np.argwhere(back)[0]
        periods = np.flatnonzero(kept)
        raise NotEstimable(
            f"unit {panel.units[row]} goes back to control after {panel.periods[periods[column]]}: a weighted double "
            "difference needs treatment that stays on; use twfe, mc or trop, which mask treated cells"
        )
    ever = path.any(axis=1)
    n_control = int((~ever).sum())
    if n_control == 0:
        raise NotEstimable(
            "no unit is never treated: the weighted estimators need controls; use twfe, mc or trop, which also use "
            "the periods before later cohorts start"
        )
    start = np.where(ever, path.argmax(axis=1), path.shape[1])
    outcome = panel.outcome if kept.all() else panel.outcome[:, kept]
    labels = tuple(panel.periods[k] for k in np.flatnonzero(kept))
    blocks = tuple(_block(panel, outcome, labels, start, int(first)) for first in np.unique(start[ever]))
    if len(blocks) > 1:
        notes.append(f"{len(blocks)} cohorts, each against the units never treated, weighted by their treated cells")
    return Cohorts(blocks, tuple(notes))


def _block(panel: Panel, outcome: FloatArray, periods: tuple[str, ...], start: IntArray, first: int) -> Block:
    if first < 2:
        cohort = ", ".join(panel.units[k] for k in np.flatnonzero(start == first)[:3])
        raise NotEstimable(
            f"the cohort of {cohort} has {first} pre-period(s) before {periods[first]}: the weighted estimators need "
            "two at least, to tell a level from a trend; add earlier periods"
        )
    rows = np.concatenate([np.flatnonzero(start == len(periods)), np.flatnonzero(start == first)])
    in_order = len(rows) == len(outcome) and bool((rows == np.arange(len(rows))).all())
    return Block(
        outcome=outcome if in_order else outcome[rows],
        n_control=int((start == len(periods)).sum()),
        n_pre=first,
        units=tuple(panel.units[k] for k in rows),
        periods=periods,
        rows=rows,
    )


def _refuse_missing(panel: Panel, usable: BoolArray, kept: BoolArray) -> None:
    missing = ~usable
    if not missing.any():
        return
    row, column = np.argwhere(missing)[0]
    period = int(np.flatnonzero(kept)[column])
    reasons = [reason for reason, mask in panel.left_out if mask[row, period]] or ["missing"]
    units = int(missing.any(axis=1).sum())
    raise NotEstimable(
        f"{int(missing.sum())} cell(s) of {units} unit(s) cannot be used, the first {panel.units[row]} in "
        f"{panel.periods[period]} ({reasons[0]}): a weighted double difference needs every cell; drop the incomplete "
        "units, or use twfe, mc or trop, which leave single cells out"
    )


def complete_units(panel: Panel) -> BoolArray:
    """(N,): units with a usable cell in every period that has any."""
    usable = panel.usable
    complete: BoolArray = np.all(usable[:, np.any(usable, axis=0)], axis=1)
    return complete
