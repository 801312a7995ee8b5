"""Which cells cross-validation hides: placebo blocks of whole units, or a Latin square of cells.

Both are stated by class: units of one class hide the same periods in the same fold. That keeps the number of patterns
of missing cells small, which is what makes cross-validation possible on tall panels.
"""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, IntArray
from controller.errors import NotEstimable

N_FOLDS = 5
#: up to so many control units each of them is a fold of its own, and no chance is left in the number
MOST_LEFT_OUT_ONE_BY_ONE = 50
#: of more different treatment periods than this, so many, evenly spaced in their order, stand for all
MOST_PATTERNS = 8


@dataclass(frozen=True, slots=True)
class Folds:
    """What each fold hides."""

    #: (N,) class of each unit
    unit_class: IntArray
    #: (folds, classes, T) periods hidden from the units of a class
    hidden: BoolArray

    @property
    def n_folds(self) -> int:
        """How many fits one penalty needs."""
        return len(self.hidden)


def placebo_blocks(treated: BoolArray, rng: np.random.Generator | None = None, n_folds: int | None = None) -> Folds:
    """Control units in turn play the treated ones: in its fold, each hides the periods of one treated unit.

    ``treated`` (N, T). With at most ``MOST_LEFT_OUT_ONE_BY_ONE`` control units (and no ``n_folds``) each is a fold;
    otherwise ``rng`` deals them to ``n_folds`` folds (default 5). Where treated units differ in their periods, the
    control units take their patterns in turn.

    Raises NotEstimable where fewer than two units are never treated.
    """
    n_units, n_periods = treated.shape
    controls = np.flatnonzero(~treated.any(axis=1))
    if len(controls) < 2:
        raise NotEstimable(
            f"{len(controls)} unit(s) never treated: cross-validation on placebo blocks needs two; give the penalty"
        )
    patterns = np.unique(treated[treated.any(axis=1)], axis=0)
    if len(patterns) > MOST_PATTERNS:
        patterns = patterns[np.linspace(0, len(patterns) - 1, MOST_PATTERNS).astype(int)]
    one_by_one = n_folds is None and len(controls) <= MOST_LEFT_OUT_ONE_BY_ONE
    folds = len(controls) if one_by_one else min(N_FOLDS if n_folds is None else n_folds, len(controls))
    order = np.arange(len(controls))
    if not one_by_one:
        order = (np.random.default_rng(0) if rng is None else rng).permutation(len(controls))
    fold, pattern = order % folds, (order // folds + order % folds) % len(patterns)
    unit_class = np.zeros(n_units, dtype=np.int64)
    unit_class[controls] = 1 + fold * len(patterns) + pattern
    hidden = np.zeros((folds, 1 + folds * len(patterns), n_periods), dtype=bool)
    for k in range(folds):
        hidden[k, 1 + k * len(patterns) : 1 + (k + 1) * len(patterns)] = patterns
    return Folds(unit_class, hidden)


def latin_cells(shape: tuple[int, int], rng: np.random.Generator | None = None, n_folds: int = N_FOLDS) -> Folds:
    """Each fold hides one cell in ``n_folds``: cell (i, t) where class(i) + class(t) = fold, modulo ``n_folds``.

    Every cell is hidden once, every unit and every period loses the same share in each fold. For completing a matrix
    where no cell is treated.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    unit_class = rng.permutation(np.arange(shape[0]) % n_folds)
    period_class = rng.permutation(np.arange(shape[1]) % n_folds)
    classes = np.arange(n_folds)
    hidden = (classes[None, :, None] + period_class[None, None, :]) % n_folds == classes[:, None, None]
    return Folds(unit_class, hidden)
