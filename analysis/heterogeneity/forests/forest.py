"""A causal forest whose effects are centred first by the candidate that a held-out R-loss chooses.

1. Nuisances E[Y|X], E[W|X] by boosting, cross-fitted over clusters; y and w are what is left.
2. Candidates for the effect m(x): none, ridge of y on w [1, x], the same with squares and products, boosting of the
   R-loss. Each, a small forest on top of it, is fitted on one half of the clusters and judged on the other by
   ``mean (y - w tau(x))^2``. (Judged without the forest, "none" loses against any candidate that has a constant: the
   ridge was chosen where the effect is constant.)
3. Bags are half-samples of clusters. In each, m is fitted anew, cross-fitted over two halves, and trees are grown on
   ``y - w m(x)``.
4. The effect is the mean of the bags' m plus the forest's; its variance is that between bags (a half-sample's variance
   about the whole is the whole's variance), less the noise of having few trees in a bag (Athey, Tibshirani, Wager
   2019), plus the mean square of what the centring shrinks or smooths away (`centring.py`, `remainder.py`).
5. Where the centring was chosen: the plain forest has the share of effects by which the mixture has the least held-out
   R-loss, and the trees' part of each is shrunk towards its mean where out-of-bag rows say that it spreads too far.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.heterogeneity.forests.boosting import EFFECT, U8, Boosting, boost
from analysis.heterogeneity.forests.calibration import slope
from analysis.heterogeneity.forests.centring import MOST_FOR_PRODUCTS, basis, ridge, shrinkage
from analysis.heterogeneity.forests.fitted_forest import (
    NOT_SHRUNK,
    CausalForest,
    Centring,
    Linear,
    Shrunk,
    binned,
    edges_of,
    matrix,
    mean_of_used,
)
from analysis.heterogeneity.forests.nuisances import expected_outcome, expected_treatment, ridge_outcome
from analysis.heterogeneity.forests.remainder import NO_REMAINDER, smoothed_away
from analysis.heterogeneity.forests.trees import grow_trees
from analysis.panel_data.blas_threads import one_blas_thread
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable
from controller.validation.cluster_minima import CLUSTERS_FOR_HETEROGENEITY

#: trees that share a half-sample where nothing is centred, as in grf
PLAIN_BAG = 2
#: trees that share a half-sample, and the centring fitted on it
CENTRED_BAG = 5
#: the same where centring takes most of the time: boosting, forests that judge candidates, refits of few clusters
COARSE_BAG = 10
#: trees by which a candidate is judged
JUDGING_TREES = 100
#: rows, by whole clusters, on which candidates are judged
MOST_FOR_JUDGING = 20_000
#: folds of the nuisance models
FOLDS = 3
#: fewer clusters cannot be halved twice
FEWEST_CLUSTERS = CLUSTERS_FOR_HETEROGENEITY

CANDIDATES: tuple[Centring, ...] = ("none", "ridge", "quadratic", "boosted")
#: fewer clusters cannot tell candidates apart: the ridge is taken, which shrinks to a constant where effects are one
FEWEST_TO_CHOOSE = 500
#: a smaller share of a centred or of the plain forest is none
LEAST_SHARE = 0.05
#: standard errors by which trees must spread too far before they are shrunk
CLEAR = 1.0
#: rows by which the trees' spread is judged
MOST_FOR_SPREAD = 10_000


def causal_forest(
    X: ArrayLike,
    treatment: ArrayLike,
    outcome: ArrayLike,
    *,
    trees: int = 500,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    centring: Literal["auto"] | Centring = "auto",
    propensity: ArrayLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep_members: bool = False,
) -> CausalForest:
    """Fit a causal forest.

    Args:
        X: (n, p), finite numbers: attributes from before the treatment.
        treatment: (n,), 0 or 1, or an intensity.
        outcome: (n,).
        trees: at least 100, in bags of a few; as many again where a centred forest and a plain one are mixed.
        clusters: (n,), labels of rows that are sampled together; absent, each row alone.
        seed: of all chance; the same at any number of threads.
        centring: "auto" chooses by held-out R-loss, and below 500 clusters takes the ridge.
        propensity: (n,), known E[W|X]; estimated where absent.
        progress: is told trees done and trees in all.
        keep_members: remember the estimation halves, one byte a row and tree, for :meth:`CausalForest.arm_differences`.

    Raises:
        NotEstimable: missing or infinite numbers, treatment that does not vary, too few clusters.

    """
    x = matrix(X)
    n = len(x)
    w, y = _column("treatment", treatment, n), _column("outcome", outcome, n)
    label = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    if len(label) != n:
        raise NotEstimable(f"{len(label)} cluster labels for {n} rows: give one to each row")
    groups = int(label.max()) + 1
    if groups < FEWEST_CLUSTERS:
        raise NotEstimable(
            f"{groups} clusters: a forest halves them twice and needs {FEWEST_CLUSTERS}; the average effect can still "
            "be estimated"
        )
    if trees < 100:
        raise NotEstimable(f"{trees} trees: standard errors come from half-samples, and need at least 100")
    if np.ptp(w) == 0:
        raise NotEstimable(f"every row has treatment {w[0]:g}: there is nothing to compare it with")
    rng = np.random.default_rng(seed)
    edges = tuple(edges_of(column) for column in x.T)
    bins = binned(x, edges)
    fold = rng.permutation(groups)[label] % (2 * FOLDS)
    by_three, by_two = (fold % FOLDS).astype(np.int64), fold // FOLDS
    known = None if propensity is None else _column("propensity", propensity, n)
    with one_blas_thread():
        w_left = w - (known if known is not None else expected_treatment(bins, w, by_three))
        few = groups < FEWEST_TO_CHOOSE
        y_left = y - (ridge_outcome(x, w_left, y, by_two) if few else expected_outcome(x, bins, y, by_three, by_two))
        data = _Data(x, bins, w_left, y_left, label, edges)
        if centring == "auto" and few:
            centring = "ridge"
        rounds = _rounds(data, by_two) if centring in ("auto", "boosted") else 0
        if centring != "auto":
            return _fitted(data, centring, rounds, trees, rng, {}, progress, keep_members)
        tried = tuple(name for name in CANDIDATES if name != "quadratic" or 1 < x.shape[1] <= MOST_FOR_PRODUCTS)
        # A choice needs no more rows than tell candidates apart.
        judged = np.random.default_rng(seed).permutation(groups)[label] < groups * MOST_FOR_JUDGING / n
        part = data.rows(judged)
        effects = {name: _held_out_effects(part, by_two[judged], name, rounds, seed) for name in tried}
        means = {str(name): float(np.mean((part.y - part.w * each) ** 2)) for name, each in effects.items()}
        name, weight = _chosen(effects, part.w, part.y)
        in_all = trees if weight == 1 else 2 * trees

        def told(done: int, _: int, before: int = 0) -> None:
            if progress is not None:
                progress(before + done, in_all)

        found = _fitted(data, name, rounds, trees, rng, means, told, keep_members)
        found = replace(found, shrunk=_shrunk(found, x, label, rng))
        if weight == 1:
            return found
        plain = _fitted(data, "none", rounds, trees, rng, means, partial(told, before=trees), keep_members)
        return replace(found, weight=weight, _plain=replace(plain, shrunk=_shrunk(plain, x, label, rng)))


@dataclass(frozen=True, slots=True)
class _Data:
    """Rows with what the nuisances leave of treatment and outcome."""

    x: FloatArray
    bins: U8
    w: FloatArray
    y: FloatArray
    label: IntArray
    edges: tuple[FloatArray, ...]

    def rows(self, chosen: NDArray[np.bool_]) -> "_Data":
        label = np.unique(self.label[chosen], return_inverse=True)[1]
        bins = np.ascontiguousarray(self.bins[:, chosen])
        return _Data(self.x[chosen], bins, self.w[chosen], self.y[chosen], label, self.edges)


def _chosen(effects: dict[Centring, FloatArray], w: FloatArray, y: FloatArray) -> tuple[Centring, float]:
    """The centring, and its share beside the plain forest, whose mixture has the least held-out R-loss."""
    left = y - w * effects["none"]
    best: tuple[float, Centring, float] = (float(left @ left), "none", 1.0)
    for name, effect in effects.items():
        more = w * (effect - effects["none"])
        square = float(more @ more)
        share = min(max(float(more @ left) / square, 0.0), 1.0) if square > 0 else 0.0
        if share >= LEAST_SHARE:
            rest = left - share * more
            best = min(best, (float(rest @ rest), name, share if share <= 1 - LEAST_SHARE else 1.0))
    return best[1:]


def _shrunk(forest: CausalForest, x: FloatArray, label: IntArray, rng: np.random.Generator) -> Shrunk:
    """How far trees are shrunk: b of ``y - w m = w level + b w (trees - mean)`` where it is clearly below one."""
    some = np.sort(rng.permutation(len(x))[:MOST_FOR_SPREAD])
    bins, used = np.ascontiguousarray(forest._bins[:, some]), ~forest._in_bag[:, some]
    m = mean_of_used(forest._centre(bins, x[some]), used)
    trees = forest._predicted(bins, x[some], used)[0] - m
    known = np.isfinite(trees)
    w, y = forest.treatment_residual[some], forest.outcome_residual[some]
    if not known.any() or np.ptp(trees[known]) == 0:
        return NOT_SHRUNK
    line = slope((y - w * m)[known], w[known], trees[known], label[some][known])
    if 1 - line.slope <= CLEAR * line.slope_error:
        return NOT_SHRUNK
    # A centring has a level of its own, whose error is in the bags.
    level_error = line.level_error if forest.centring == "none" else 0.0
    return Shrunk(float(np.clip(line.slope, 0, 1)), line.slope_error, float(trees[known].mean()), level_error)


def _held_out_effects(data: _Data, half: IntArray, centring: Centring, rounds: int, seed: int) -> FloatArray:
    """(n,) effects by a small forest on the other half, its centring included."""
    found = np.empty(len(data.y))
    for side in (0, 1):
        fitted = _fitted(
            data.rows(half == side),
            centring,
            rounds,
            JUDGING_TREES,
            np.random.default_rng(seed),
            {},
            None,
            judging=True,
        )
        other = data.rows(half != side)
        effect = fitted._predicted(other.bins, other.x, np.zeros((0, 0), np.bool_))[0]
        found[half != side] = np.nan_to_num(effect)
    return found


def _fitted(
    data: _Data,
    chosen: Centring,
    rounds: int,
    trees: int,
    rng: np.random.Generator,
    loss: dict[str, float],
    progress: Callable[[int, int], None] | None,
    keep_members: bool = False,
    judging: bool = False,
) -> CausalForest:
    """Bags, their centrings and their trees."""
    n, groups = len(data.y), int(data.label.max()) + 1
    coarse = judging or groups < FEWEST_TO_CHOOSE or chosen == "boosted"
    per_bag = PLAIN_BAG if chosen == "none" else COARSE_BAG if coarse else CENTRED_BAG
    bags = -(-trees // per_bag)
    drawn = np.stack([np.sort(rng.permutation(groups)[: groups // 2]) for _ in range(bags)])
    in_bag = np.zeros((bags, groups), np.bool_)
    np.put_along_axis(in_bag, drawn, True, axis=1)
    rows = in_bag[:, data.label]
    target, linear, boosted = data.y[np.newaxis], None, None
    if chosen != "none":
        side = (np.stack([rng.permutation(groups) for _ in range(bags)]) % 2 == 0)[:, data.label]
        fits = np.stack([rows & side, rows & ~side], axis=1)
        if chosen != "boosted":
            shape = basis(data.x, chosen == "quadratic")
            design = shape.of(data.x)
            how_far = shrinkage(shape, design, data.w, data.y, data.label % 2)
            # A quarter of the rows is in each fit: a quarter of the penalty shrinks as much.
            quarter = how_far.penalty / 4
            halves = np.stack(
                [[ridge(design[fit], data.w[fit], data.y[fit], quarter) for fit in pair] for pair in fits]
            )
            linear = Linear(shape, halves.mean(axis=1), how_far.lost)
            both = halves @ design.T
        else:
            how = Boosting(EFFECT.depth, EFFECT.rate, max(rounds, 1), EFFECT.ridge)
            nothing = np.zeros((2 * bags, n), np.bool_)
            boosted, _ = boost(data.bins, data.w, data.y, fits.reshape(2 * bags, n), nothing, how)
            # Rows of the bag are asked of the half that they are not in; no other is looked at.
            both = boosted.predict(data.bins, fits[:, ::-1].reshape(2 * bags, n)).reshape(bags, 2, n)
        target = data.y - data.w * np.where(side, both[:, 1], both[:, 0])
    order = np.argsort(data.label, kind="stable")
    starts = np.searchsorted(data.label[order], np.arange(groups + 1))
    member = np.zeros((bags * per_bag, n if keep_members else 0), np.bool_)
    grown = _grown(data.bins, data.w, target, order, starts, drawn, per_bag, int(rng.integers(2**63)), progress, member)
    gain = grown[4].sum(axis=0)
    # Those that judge candidates are asked for effects alone.
    smooth = chosen == "quadratic" and not judging
    beyond = smoothed_away(data.x, data.w, data.y, rng) if smooth else NO_REMAINDER
    importance = gain / gain.sum() if gain.sum() > 0 else np.zeros(len(data.edges))
    return CausalForest(
        chosen, loss, importance, data.y, data.w, data.edges, data.bins, grown[:4], per_bag, linear, boosted, beyond,
        rows, (member, target if keep_members else np.zeros((1, 0))),
    )  # fmt: skip


def _grown(
    bins: U8,
    w: FloatArray,
    y: FloatArray,
    order: IntArray,
    starts: IntArray,
    drawn: IntArray,
    per_bag: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
    member: NDArray[np.bool_],
) -> tuple[NDArray[np.int16], U8, NDArray[np.int32], NDArray[np.float32], FloatArray]:
    """All trees, a batch of bags at a time, so that progress can be told."""
    bags, trees = len(drawn), len(drawn) * per_bag
    sizes = np.sort(np.diff(starts))[::-1][: drawn.shape[1] // 2]
    most = 2 * (int(sizes.sum()) // 10) + 3
    feature = np.full((trees, most), -1, np.int16)
    cut, child = np.zeros((trees, most), np.uint8), np.zeros((trees, most), np.int32)
    moments = np.zeros((trees, most, 5), np.float32)
    gain = np.zeros((trees, len(bins)))
    uses = np.arange(bags, dtype=np.int32) if len(y) > 1 else np.zeros(bags, np.int32)
    batch = bags if progress is None else max(1, bags // 20)
    for first in range(0, bags, batch):
        some = slice(first, min(first + batch, bags))
        its = slice(some.start * per_bag, some.stop * per_bag)
        grow_trees(
            bins, w, y, uses[some], order, starts, drawn[some], per_bag, its.start, np.uint64(seed % 2**64),
            feature[its], cut[its], child[its], moments[its], gain[its], member[its],
        )  # fmt: skip
        if progress is not None:
            progress(its.stop, trees)
    return feature, cut, child, moments, gain


def _rounds(data: _Data, half: IntArray) -> int:
    """Rounds of boosting whose R-loss over the half that was held out is least."""
    fits = half == np.array([[0], [1]])
    return int(boost(data.bins, data.w, data.y, fits, ~fits, EFFECT)[1].sum(axis=0).argmin())


def _column(name: str, values: ArrayLike, n: int) -> FloatArray:
    column = np.asarray(values, dtype=np.float64).ravel()
    if len(column) != n:
        raise NotEstimable(f"{len(column)} values of {name} for {n} rows")
    if not np.isfinite(column).all():
        raise NotEstimable(f"{name} of row {int(np.flatnonzero(~np.isfinite(column))[0])} is missing or infinite")
    return column
