"""The exact test: the same statistic on schedules that could have been drawn, and its interval by inversion.

Valid at any number of clusters and for any outcomes, because the draw is the only chance it uses. The redraws must
come from the production generator under the same constraints (exact halves, blackouts, weekday balance).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.eligibility import held
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

ArmArray = NDArray[Any]
#: Cells of redraws looked at in one go: bounds the memory at about 30 bytes a cell.
CHUNK_CELLS = 4_000_000
#: Two statistics closer than this, relative to the largest one, are ties: redraws of the drawn schedule count.
TIE = 1e-9


@dataclass(frozen=True, slots=True)
class RandomizationTest:
    """An exact test of no effect at all, and the constant effects that it would not reject."""

    effect: float
    #: ``(1 + redraws at least as extreme) / (1 + redraws)``
    p: float
    lower: float
    upper: float
    alpha: float
    redraws: int
    #: redraws whose schedule left an arm without a usable cell: they count as extreme
    redraws_undefined: int


def randomization_test(
    outcome: FloatArray,
    arm: ArmArray,
    draws: ArmArray | Callable[[int], ArmArray],
    *,
    carryover_order: int = 0,
    redraws: int | None = None,
    alpha: float = 0.05,
    treated_propensity: FloatArray | float = 1.0,
    control_propensity: FloatArray | float = 1.0,
) -> RandomizationTest:
    """Test and interval for the difference of (weighted) means over held treated and held control windows.

    ``outcome`` (N, T), NaN where missing; ``arm`` (N, T), 1 treatment, 0 control, anything else neither; ``draws``
    (R, N, T) arms of R redraws, or a function from k to the k-th redraw, asked ``redraws`` times. Weights are
    1 / propensity as in ``switchback.hajek``.

    The p-value is exact for the hypothesis that no cell changes with the arm. The interval inverts it for a constant
    effect: theta on a day whose window was wholly treated, and theta times the treated share of the window while one
    arm takes over from the other (that share matters only where m > 0). Each redraw rejects outside an interval around
    the estimate whose ends are linear fractions, so the inversion is a sort and needs no search.

    Raises:
        NotEstimable: an arm has no usable cell; constant outcomes; or fewer than ``1 / alpha - 1`` redraws.
    """
    count = len(draws) if not callable(draws) else (redraws or 0)
    needed = int(np.ceil(1.0 / alpha - 1e-9)) - 1
    if count < needed:
        raise NotEstimable(f"{count} redraws: p cannot fall to {alpha} with fewer than {needed}; draw more")
    observed = np.isfinite(outcome)
    if not observed.any() or np.ptp(outcome[observed]) == 0.0:
        raise NotEstimable("the outcomes do not vary: every redraw gives the same statistic")
    centre = float(outcome[observed].mean())
    scale = float(np.ptp(outcome[observed]))
    value = np.where(observed, (outcome - centre) / scale, 0.0)
    exposure = np.where(observed, _treated_share(arm, carryover_order), 0.0)
    columns = tuple(
        _columns(value, exposure, observed, propensity) for propensity in (treated_propensity, control_propensity)
    )
    effect, _ = (float(part[0]) for part in _statistics(np.asarray(arm)[None], columns, carryover_order))
    if not np.isfinite(effect):
        raise NotEstimable("an arm has no usable cell: all are missing, washed out or left out, or it never ran")
    parts = [_statistics(chunk, columns, carryover_order) for chunk in _chunks(draws, count, outcome.size)]
    redrawn, share = (np.concatenate(column) for column in zip(*parts, strict=True))
    undefined = ~np.isfinite(redrawn)
    redrawn = np.where(undefined, np.inf, redrawn)
    extreme = int((np.abs(redrawn) >= abs(effect) * (1.0 - TIE)).sum())
    lower, upper = _invert(effect, redrawn, np.where(undefined, 0.0, share), alpha)
    p = (1.0 + extreme) / (1.0 + count)
    return RandomizationTest(effect * scale, p, lower * scale, upper * scale, alpha, count, int(undefined.sum()))


def _invert(effect: float, redrawn: FloatArray, share: FloatArray, alpha: float) -> tuple[float, float]:
    """The thetas with p(theta) > alpha, where redraw r is extreme at theta if |A_r - B_r theta| >= |effect - theta|.

    With |B_r| < 1 that is the interval between (effect - A) / (1 - B) and (effect + A) / (1 + B), which contains the
    estimate. So p falls on either side of it, and the limits are order statistics of the ends.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(effect - redrawn) / (1.0 - share), (effect + redrawn) / (1.0 + share)])
    same = (np.abs(share) >= 1.0 - TIE) | ~np.isfinite(redrawn)  # the drawn schedule, its mirror, or none at all
    low = np.where(same, -np.inf, ends.min(axis=0))
    high = np.where(same, np.inf, ends.max(axis=0))
    # p(theta) = (1 + c) / (1 + R) > alpha holds from c = floor(alpha (1 + R)) on
    kept = int(np.floor(alpha * (1.0 + len(redrawn)) + 1e-9))
    return float(np.partition(low, kept - 1)[kept - 1]), float(np.partition(high, -kept)[-kept])


def _treated_share(arm: ArmArray, carryover_order: int) -> FloatArray:
    """(N, T) share of the window [t - m, t] under treatment, windows cut at the start of the experiment."""
    treated = (np.asarray(arm) == 1).astype(np.float64)
    total = np.cumsum(np.pad(treated, ((0, 0), (1, 0))), axis=1)
    end = np.arange(1, treated.shape[1] + 1)
    start = np.maximum(end - 1 - carryover_order, 0)
    return np.asarray((total[:, end] - total[:, start]) / (end - start))


def _columns(
    value: FloatArray, exposure: FloatArray, observed: BoolArray, propensity: FloatArray | float
) -> FloatArray:
    spread = np.broadcast_to(np.asarray(propensity, dtype=np.float64), value.shape)
    weight = np.where(observed & np.isfinite(spread), 1.0 / spread, 0.0)
    return np.stack([(weight * part).ravel() for part in (value, exposure, np.ones(value.shape))], axis=1)


def _statistics(arms: ArmArray, columns: tuple[FloatArray, ...], carryover_order: int) -> tuple[FloatArray, FloatArray]:
    """(r,) differences of the outcomes, and of the exposures, under each of r schedules; NaN with an empty arm."""
    means = []
    for which, column in zip((1, 0), columns, strict=True):
        cells = held(arms == which, carryover_order) if carryover_order else arms == which
        sums = cells.reshape(len(arms), -1).astype(np.float64) @ column
        filled = sums[:, 2:] > 0.0
        means.append(np.divide(sums[:, :2], sums[:, 2:], out=np.full((len(arms), 2), np.nan), where=filled))
    difference = means[0] - means[1]
    return difference[:, 0], difference[:, 1]


def _chunks(draws: ArmArray | Callable[[int], ArmArray], count: int, cells: int) -> Iterator[ArmArray]:
    size = max(1, CHUNK_CELLS // cells)
    for start in range(0, count, size):
        stop = min(count, start + size)
        if callable(draws):
            yield np.stack([draws(k) for k in range(start, stop)])
        else:
            yield draws[start:stop]
