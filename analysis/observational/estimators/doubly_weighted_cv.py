"""The three penalties of the doubly weighted estimator, by cross-validation on placebo blocks of whole units.

The published rule leaves out one control cell at a time: at 100,000 x 365 that is 3.6e7 fits a triple, and a cell
with its neighbours around it says little about a block without them. Here units that were never treated play the
treated ones, as many at a time and in the same periods, and the triple wins whose effects on these blocks, which are
zero in truth, have the smallest root mean square. Fits are block-masked, whatever form the penalties are used in.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from joblib import Parallel, delayed

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.doubly_weighted import Penalties, block_weights, imputation_problem
from analysis.panel_data.blas_threads import blas_threads
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: the grid of 27 triples for standardised outcomes: decay per unit of distance, per period, nuclear norm (inf: none)
UNIT_GRID = (0.0, 0.5, 2.0)
TIME_GRID = (0.0, 0.1, 0.5)
NUCLEAR_GRID = (0.05, 0.5, np.inf)
#: with one treated unit and at most so many controls, each control is a placebo; otherwise so many blocks are drawn
N_PLACEBOS = 50
#: relative duality gap inside cross-validation: it moves a root mean square by a thousandth
CV_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class PlaceboScores:
    """How far from zero each triple puts the effect of blocks that were not treated."""

    #: the triples tried
    penalties: tuple[Penalties, ...]
    #: (triples,) root mean square of the placebo effects, in units of the outcome
    rmse: FloatArray
    #: how many placebo blocks
    n_placebos: int

    @property
    def best(self) -> Penalties:
        """The triple with the smallest error."""
        return self.penalties[int(np.argmin(self.rmse))]


def cross_validate(
    Y: FloatArray,
    W: BoolArray,
    observed: BoolArray,
    unit_grid: tuple[float, ...] = UNIT_GRID,
    time_grid: tuple[float, ...] = TIME_GRID,
    nuclear_grid: tuple[float, ...] = NUCLEAR_GRID,
    rng: np.random.Generator | None = None,
    n_placebos: int = N_PLACEBOS,
    n_jobs: int = 1,
) -> PlaceboScores:
    """Score every triple of the three grids.

    Arguments ``Y``, ``W``, ``observed`` as in `doubly_weighted`. ``rng`` draws the placebo blocks where they are not
    enumerated (default: seed 0). ``n_jobs`` processes.

    Raises NotEstimable where fewer than two units are never treated, or no placebo block can be estimated.
    """
    never = np.flatnonzero(~W.any(axis=1) & observed.any(axis=1))
    patterns = W[W.any(axis=1)]
    if len(never) < 2 or len(patterns) == 0:
        raise NotEstimable(
            f"{len(never)} unit(s) never treated, {len(patterns)} treated: cross-validation on placebo blocks needs "
            "two of the first and one of the second; give the penalties"
        )
    values = Y[observed & ~W]
    scale = float(values.std())
    if not scale > 0:
        raise NotEstimable(f"all control outcomes are {values[0]:g}: there is nothing to learn from a constant")
    controls = (Y[never] - values.mean()) / scale
    blocks = placebo_units(len(never), len(patterns), n_placebos, np.random.default_rng(0) if rng is None else rng)
    usable = observed[never]
    tasks = (
        delayed(_placebo_effects)(controls, usable, block, patterns, unit_grid, time_grid, nuclear_grid)
        for block in blocks
    )
    with blas_threads(controls.size):
        effects = np.array(Parallel(n_jobs=n_jobs)(tasks))
    estimable = np.isfinite(effects).all(axis=1)
    if not estimable.any():
        raise NotEstimable("no placebo block of control units can be estimated: too few cells are observed")
    triples = tuple(Penalties(*triple) for triple in product(unit_grid, time_grid, nuclear_grid))
    return PlaceboScores(triples, scale * np.sqrt((effects[estimable] ** 2).mean(axis=0)), int(estimable.sum()))


def placebo_units(n_controls: int, n_treated: int, n_placebos: int, rng: np.random.Generator) -> list[IntArray]:
    """Which control units play the treated ones: each alone where that is all there is to draw, else drawn blocks.

    A block has as many units as are treated, at most half of the controls; blocks come from permutations, so that
    units take part about equally often.
    """
    size = min(n_treated, n_controls // 2)
    if size == 1 and n_controls <= n_placebos:
        return [np.array([unit]) for unit in range(n_controls)]
    blocks: list[IntArray] = []
    while len(blocks) < n_placebos:
        dealt = rng.permutation(n_controls)
        blocks.extend(dealt[k * size : (k + 1) * size] for k in range(n_controls // size))
    return blocks[:n_placebos]


def _placebo_effects(
    Y: FloatArray,
    usable: BoolArray,
    block: IntArray,
    patterns: BoolArray,
    unit_grid: tuple[float, ...],
    time_grid: tuple[float, ...],
    nuclear_grid: tuple[float, ...],
) -> FloatArray:
    """(triples,) effects of one placebo block; NaN where it cannot be estimated."""
    treated = np.zeros_like(usable)
    treated[block] = patterns[np.arange(len(block)) % len(patterns)]
    treated &= usable
    control = usable & ~treated
    effects = np.full((len(unit_grid), len(time_grid), len(nuclear_grid)), np.nan)
    downwards = np.argsort(nuclear_grid)[::-1]
    try:
        for (u, unit), (t, time) in product(enumerate(unit_grid), enumerate(time_grid)):
            weights = block_weights(Y, treated, control, Penalties(unit, time, np.inf))
            problem = imputation_problem(Y, control, treated, *weights)
            start: FloatArray | None = None
            for k in downwards:
                fit = low_rank.solve(problem.panel, nuclear_grid[k], start, CV_TOLERANCE)
                start = fit.right
                effects[u, t, k] = (Y[treated] - problem.counterfactual(fit)).mean()
    except NotEstimable:
        return np.full(effects.size, np.nan)
    return effects.ravel()
