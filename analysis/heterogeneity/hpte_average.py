"""Steps 2 to 4 of HPTE: trim, forest, and the noise of the average by a bootstrap of clusters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.heterogeneity.differences import kept
from analysis.heterogeneity.forests.fitted_forest import CausalForest, Centring
from analysis.heterogeneity.forests.forest import causal_forest
from analysis.heterogeneity.scores import Line, line, mean_error, scores
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

#: effective units of each arm that a unit is compared with
LEAST_SIZE = 5.0
#: below this many clusters refits are studentised
FEW_CLUSTERS = 30
#: least share of a residual that a row's own copies are taken to leave
LEAST_LEFT = 0.1
#: trees of a refit: its average needs few
REFIT_TREES = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """First differences with their attributes: a row for each unit, and in a crossover for each arm of it."""

    #: (n, p)
    x: FloatArray
    treated: BoolArray
    value: FloatArray
    unit: IntArray
    #: (n,) 0 to G - 1
    cluster: IntArray
    crossover: bool

    def take(self, chosen: IntArray, unit: IntArray) -> "Rows":
        return Rows(
            self.x[chosen], self.treated[chosen], self.value[chosen], unit, self.cluster[chosen], self.crossover
        )


@dataclass(frozen=True, slots=True)
class Second:
    """What step 3 found, at all rows: those within the cut out of bag, those beyond it by all bags."""

    forest: CausalForest
    #: (n,) rows within the cut
    inside: BoolArray
    #: share of treatment among them
    share: float
    #: (n,) effects by affinity weights, NaN where an arm has nobody
    effect: FloatArray
    #: (n,) both arms have an effective size of five
    eligible: BoolArray
    #: (kept,) doubly robust scores
    scores: FloatArray
    #: mean effect of the eligible rows within the cut
    average: float


@dataclass(frozen=True, slots=True)
class Average:
    """The average effect of the eligible units, its noise, and the cross-check."""

    line: Line
    #: "refits", "studentised refits", or "scores"
    noise: str
    draws: int
    cross_check: Line
    clusters: int
    #: mean square of the noise that all effects share and that scores do not hold: of the cut and of the centring
    shared_noise: float


def fitted(
    rows: Rows,
    *,
    trees: int,
    seed: int,
    centring: Literal["auto"] | Centring,
    progress: Callable[[int, int], None] | None = None,
) -> Second:
    """Trim, grow the forest, weigh.

    Raises:
        NotEstimable: one arm is empty, or no unit is eligible.

    """
    inside = kept(rows.value, rows.treated, rows.unit, rows.crossover)
    treated = rows.treated[inside]
    share = float(treated.mean())
    if share in (0.0, 1.0):
        raise NotEstimable("one arm has no units: there is nothing to compare the other with")
    x = rows.x[inside]
    forest = causal_forest(
        x, treated, rows.value[inside], trees=trees, clusters=rows.cluster[inside], seed=seed, centring=centring,
        propensity=np.full(len(x), share), progress=progress, keep_members=True,
    )  # fmt: skip
    found = forest.arm_differences(x, treated, rows.x[~inside])
    effect, high, low = (np.empty(len(rows.value)) for _ in range(3))
    for column, into in zip(found.T, (effect, high, low), strict=True):
        into[inside], into[~inside] = column[: len(x)], column[len(x) :]
    eligible = np.isfinite(effect) & (high >= LEAST_SIZE) & (low >= LEAST_SIZE)
    use = eligible & inside
    if not use.any():
        raise NotEstimable(
            f"no unit has {LEAST_SIZE:g} effective units of both arms among its likes: the average can still be "
            "estimated, who responds cannot"
        )
    tau = np.where(np.isfinite(effect[inside]), effect[inside], np.nanmean(effect[use]))
    found_scores = scores(forest.outcome_residual, forest.treatment_residual, tau, share)
    return Second(forest, inside, share, effect, eligible, found_scores, float(effect[use].mean()))


def average(
    rows: Rows,
    second: Second,
    *,
    refits: bool,
    draws: int,
    level: float,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Average:
    """The average with its interval. Each draw is numbered, so that one does not depend on another."""
    groups = int(rows.cluster.max()) + 1
    use = second.eligible[second.inside]
    values, cluster = second.scores[use], rows.cluster[second.inside][use]
    error = mean_error(values, cluster)
    if not refits:
        spread = _poisson(rows, second, draws, seed, progress)
        check = line(float(values.mean()), spread, groups, level)
        shared = max(spread**2 - error**2, 0.0)
        return Average(line(second.average, spread, groups, level), "scores", draws, check, groups, shared)
    found = [_refit(rows, second, draw, seed, progress, draws) for draw in range(draws)]
    known = np.array([triple for triple in found if triple is not None])
    if len(known) < draws / 2:
        raise NotEstimable(
            f"{draws - len(known)} of {draws} refits had no unit that could be compared: too few units for an interval"
        )
    spread, _, check_spread = (float(column.std(ddof=1)) for column in known.T)
    check = line(float(values.mean()), check_spread, groups, level)
    shared = max(spread**2 - error**2, 0.0)
    if groups >= FEW_CLUSTERS:
        return Average(line(second.average, spread, groups, level), "refits", len(known), check, groups, shared)
    ratio = (known[:, 0] - second.average) / np.maximum(known[:, 1], 1e-300)
    low, high = np.quantile(ratio, [0.5 - level / 2, 0.5 + level / 2])
    p = float((1 + np.sum(np.abs(ratio) >= abs(second.average) / max(error, 1e-300))) / (len(ratio) + 1))
    studentised = Line(second.average, error, second.average - high * error, second.average - low * error, p)
    return Average(studentised, "studentised refits", len(known), check, groups, shared)


def _refit(
    rows: Rows, second: Second, draw: int, seed: int, progress: Callable[[int, int], None] | None, draws: int
) -> tuple[float, float, float] | None:
    """Average, its error by scores, and their mean, with clusters drawn again, whose copies stay together."""
    rng = np.random.default_rng([seed, draw])
    groups = int(rows.cluster.max()) + 1
    drawn = rng.integers(groups, size=groups)
    by = np.argsort(rows.cluster, kind="stable")
    starts = np.searchsorted(rows.cluster[by], np.arange(groups + 1))
    parts = [by[starts[g] : starts[g + 1]] for g in drawn]
    chosen = np.concatenate(parts)
    copy = np.repeat(np.arange(groups), [len(part) for part in parts])
    # A unit's copies are units of their own, or a crossover's pairs could not be told apart.
    again = rows.take(chosen, np.unique(copy * (rows.unit.max() + 1) + rows.unit[chosen], return_inverse=True)[1])
    if progress is not None:
        progress(draw + 1, draws)
    try:
        found = fitted(again, trees=REFIT_TREES, seed=int(rng.integers(2**31)), centring=second.forest.centring)
    except NotEstimable:
        return None
    use = found.eligible[found.inside]
    values = found.scores[use]
    return found.average, mean_error(values, copy[found.inside][use]), float(values.mean())


def _poisson(rows: Rows, second: Second, draws: int, seed: int, progress: Callable[[int, int], None] | None) -> float:
    """Spread of the mean score when each cluster counts Poisson(1) times, cut and centring of outcomes anew."""
    groups = int(rows.cluster.max()) + 1
    tau = np.where(np.isfinite(second.effect), second.effect, second.average)
    means = np.empty(draws)
    for draw in range(draws):
        weight = np.random.default_rng([seed, draw]).poisson(1.0, groups)
        chosen = np.repeat(np.arange(len(rows.value)), weight[rows.cluster])
        if rows.crossover:
            order = np.repeat(np.arange(len(rows.value)), weight[rows.cluster])
            turn = np.arange(len(order)) - np.repeat(
                np.r_[0, np.cumsum(weight[rows.cluster])[:-1]], weight[rows.cluster]
            )
            unit = np.unique(turn * (rows.unit.max() + 1) + rows.unit[order], return_inverse=True)[1]
        else:
            unit = np.arange(len(chosen))
        again = rows.take(chosen, unit)
        inside = kept(again.value, again.treated, again.unit, again.crossover)
        w, x = again.treated[inside] - again.treated[inside].mean(), again.x[inside]
        share, effect = float(again.treated[inside].mean()), tau[chosen][inside]
        z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        design = np.column_stack([np.ones(len(z)), z])
        left = again.value[inside] - w * effect
        penalty = np.diag(np.r_[1e-9, np.ones(z.shape[1])])
        inverse = np.linalg.inv(design.T @ design + penalty)
        left = left - design @ (inverse @ (design.T @ left))
        # Copies of a row draw the fit to themselves: its residual is that of a fit without them.
        copies = weight[again.cluster[inside]]
        left = left / np.maximum(1 - copies * np.einsum("ij,jk,ik->i", design, inverse, design), LEAST_LEFT)
        use = second.eligible[chosen][inside]
        means[draw] = float((effect + w * left / (share * (1 - share)))[use].mean())
        if progress is not None:
            progress(draw + 1, draws)
    return float(means.std(ddof=1))
