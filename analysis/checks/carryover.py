"""Does an arm act for longer than assumed, or before it starts? Estimates under two orders must agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.checks.verdict import Check, unknown
from analysis.panel_data.eligibility import coins_in_windows, propensities
from analysis.panel_data.panel import BoolArray, FloatArray
from analysis.randomised.contrasts import contrast_of_sums
from analysis.randomised.switchback import hajek
from controller.errors import NotEstimable

BOOTSTRAPS = 1000
#: means of clusters and of periods are taken off by turns, until those left are this small or so many times: where no
#: cell is missing the second turn finds none
SWEEPS, SWEPT = 100, 1e-10


@dataclass(frozen=True, slots=True)
class Redraws:
    """Redraws of clusters from a seed: both tests of a day ask for the same ones, and drawing is most of their work."""

    seed: int
    drawn: dict[tuple[int, int], FloatArray] = field(default_factory=dict)

    def of(self, clusters: int, bootstraps: int) -> FloatArray:
        """As a generator that was just made from the seed draws them."""
        if (clusters, bootstraps) not in self.drawn:
            self.drawn[clusters, bootstraps] = _redrawn(np.random.default_rng(self.seed), clusters, bootstraps)
        return self.drawn[clusters, bootstraps]


Random = np.random.Generator | Redraws


def _redrawn(rng: Random, clusters: int, bootstraps: int) -> FloatArray:
    """(B, G) how often each cluster is in each of the redraws."""
    if isinstance(rng, Redraws):
        return rng.of(clusters, bootstraps)
    return rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=bootstraps).astype(np.float64)


def carryover_test(
    outcome: FloatArray,
    arm: NDArray[Any],
    points: Sequence[int],
    *,
    assumed_order: int,
    longer_order: int,
    rng: Random,
    probability: float = 0.5,
    alpha: float = 0.05,
    bootstraps: int = BOOTSTRAPS,
    steady: bool = True,
) -> Check:
    """Does the outcome need the arms of more than the last ``assumed_order`` days? Least squares on both windows.

    If nothing acts beyond the assumed order, the treated share of the days before it up to ``longer_order`` explains
    nothing beside the treated share of [t - order, t] and the levels of clusters and periods (:func:`_regression`).
    The coefficient's standard error is a bootstrap of clusters, its reference Student's t with G - 1 degrees of
    freedom. It also fails where the effect depends on the day within the block, and in blocks of whole weeks on the
    weekday.

    ``outcome`` (N, T), NaN where missing; ``arm`` (N, T); ``points``: columns of the coins.

    ``steady``: False asks for the difference of the Hajek estimates under both orders instead (Missault and Masoero,
    arXiv 2506.12654), which takes no effect to be alike on all days. Only periods whose two windows touch different
    coins can tell, so only these are compared: in long blocks they are few, and it finds less. It needs outcomes less
    a forecast that owes nothing to the draws in question (:func:`less_other_draws`, or the pre-period's mean).
    """
    what_to_do = (
        f"Do not rely on the estimate at carryover order {assumed_order}: raise the order to {longer_order} or more,"
        " lengthen the burn-in, and test again."
    )
    if steady:
        return _regression(outcome, arm, (assumed_order, longer_order), rng, alpha, bootstraps, what_to_do)
    return _compare(
        "carryover",
        outcome,
        arm,
        points,
        (assumed_order, longer_order),
        rng,
        probability,
        alpha,
        bootstraps,
        what_to_do,
    )


def non_anticipation_test(
    outcome: FloatArray,
    arm: NDArray[Any],
    points: Sequence[int],
    *,
    lead: int,
    rng: Random,
    probability: float = 0.5,
    alpha: float = 0.05,
    bootstraps: int = BOOTSTRAPS,
) -> Check:
    """An outcome must not know the arm of the ``lead`` days that follow: estimates under two orders, time reversed.

    Telling periods only, because an unassumed carryover would pass for foresight in a regression.
    ``outcome`` (N, T): less a forecast, as for ``carryover_test(steady=False)``.

    A failure means that the schedule leaked (a price tag printed early, a customer told), or that cells are labelled
    with the wrong day.
    """
    periods = outcome.shape[1]
    ends = np.r_[np.asarray(points)[1:], periods]
    mirrored = tuple(int(periods - end) for end in ends[::-1])
    return _compare(
        "non-anticipation",
        outcome[:, ::-1],
        arm[:, ::-1],
        mirrored,
        (0, lead),
        rng,
        probability,
        alpha,
        bootstraps,
        "Find out who saw the schedule early, and whether days are labelled in the market's own time zone.",
    )


def _compare(
    name: str,
    outcome: FloatArray,
    arm: NDArray[Any],
    points: Sequence[int],
    orders: tuple[int, int],
    rng: Random,
    probability: float,
    alpha: float,
    bootstraps: int,
    what_to_do: str,
) -> Check:
    short, long = orders
    if long <= short:
        raise ValueError(f"orders {short} and {long}: the second one must be longer")
    periods = outcome.shape[1]
    telling = coins_in_windows(points, periods, long) > coins_in_windows(points, periods, short)
    if not telling.any():
        return unknown(name, alpha, f"no day's window of {long} days back holds a draw that one of {short} does not")
    centred = np.where(telling, outcome, np.nan)
    observed = np.isfinite(centred)
    count = observed.sum(axis=0)
    total = np.where(observed, centred, 0.0).sum(axis=0)
    centred = centred - np.divide(total, count, out=np.zeros(periods), where=count > 0)
    try:
        estimates = [hajek(centred, arm, order, *propensities(points, periods, order, probability)) for order in orders]
        sums = np.concatenate([estimate.sums for estimate in estimates], axis=1)
        clusters = len(sums)
        if clusters < 3:
            return unknown(name, alpha, f"{clusters} clusters: a bootstrap of clusters needs at least 3")
        drawn = _redrawn(rng, clusters, bootstraps) @ sums
        drawn = drawn[(drawn[:, [1, 3, 5, 7]] > 0.0).all(axis=1)]
        if len(drawn) < bootstraps // 2:
            return unknown(name, alpha, "most redraws of the clusters leave an arm without a window that was held")
        spread = contrast_of_sums(drawn[:, 4:], relative=False)[0] - contrast_of_sums(drawn[:, :4], relative=False)[0]
    except NotEstimable as reason:
        return unknown(name, alpha, str(reason))
    difference = estimates[1].effect - estimates[0].effect
    evidence = (
        f"{estimates[0].effect:.4g} at order {short}, {estimates[1].effect:.4g} at order {long}:"
        f" difference {difference:.4g}"
    )
    return _verdict(name, difference, float(spread.std(ddof=1)), clusters, alpha, what_to_do, evidence)


def _regression(
    outcome: FloatArray,
    arm: NDArray[Any],
    orders: tuple[int, int],
    rng: Random,
    alpha: float,
    bootstraps: int,
    what_to_do: str,
) -> Check:
    """Least squares of the outcome on the treated shares of [t - m, t] and of the days before it.

    Levels of clusters and of periods are taken off. Clusters are redrawn through their sums of squares, as in the
    comparison of estimates.
    """
    short, long = orders
    if long <= short:
        raise ValueError(f"orders {short} and {long}: the second one must be longer")
    treated = (np.asarray(arm) == 1).astype(np.float64)
    periods = treated.shape[1]
    lagged = np.stack([treated[:, long - lag : periods - lag] for lag in range(long + 1)])
    value = outcome[:, long:]
    usable = np.isfinite(value)
    columns = [_within(part, usable) for part in (lagged[: short + 1].mean(0), lagged[short + 1 :].mean(0), value)]
    clusters = int(usable.any(axis=1).sum())
    if clusters < 3:
        return unknown("carryover", alpha, f"{clusters} clusters: a bootstrap of clusters needs at least 3")
    design, response = np.stack(columns[:2], axis=2), columns[2]
    squares = np.einsum("ntk,ntl->nkl", design, design)[usable.any(axis=1)]
    products = np.einsum("ntk,nt->nk", design, response)[usable.any(axis=1)]
    drawn = _redrawn(rng, clusters, bootstraps)
    never = f"no day's window of {long} days back differs from one of {short}"
    if (np.abs(design[..., 0] - design[..., 1]) <= 1e-8 + 1e-5 * np.abs(design[..., 1])).all():
        return unknown("carryover", alpha, never)
    try:
        found = np.linalg.solve(squares.sum(axis=0), products.sum(axis=0))
        redrawn = np.linalg.solve(np.tensordot(drawn, squares, 1), (drawn @ products)[..., None])[:, 1, 0]
    except np.linalg.LinAlgError:
        return unknown("carryover", alpha, never)
    evidence = f"{found[0]:.4g} by the last {short + 1} day(s), {found[1]:.4g} by the {long - short} before"
    return _verdict("carryover", float(found[1]), float(redrawn.std(ddof=1)), clusters, alpha, what_to_do, evidence)


def less_other_draws(outcome: FloatArray, points: Sequence[int]) -> FloatArray:
    """(N, T) outcomes less their cluster's mean over the days of other draws than the day's own and its neighbours'.

    A mean over all days contains what the day's own arms did, and every second window the neighbour's: compared with
    it, one true null in five is rejected in blocks of weeks. NaN where a cluster has no such days.
    """
    starts = np.asarray(points, dtype=np.int64)
    draw = np.searchsorted(starts, np.arange(outcome.shape[1]), side="right") - 1
    seen = np.isfinite(outcome)
    sums = [np.add.reduceat(part, starts, axis=1) for part in (np.where(seen, outcome, 0.0), seen.astype(np.float64))]
    others = []
    for part in sums:
        near = part.copy()
        near[:, 1:] += part[:, :-1]
        near[:, :-1] += part[:, 1:]
        others.append(part.sum(axis=1, keepdims=True) - near)
    level = np.divide(others[0], others[1], out=np.full(others[0].shape, np.nan), where=others[1] > 0.5)
    return np.asarray(outcome - level[:, draw])


def _within(value: FloatArray, usable: BoolArray) -> FloatArray:
    """The usable cells less their cluster's and their period's mean, by turns until neither is left; 0 elsewhere.

    Taken off the outcome and off the arms alike, a cluster's own mean does no harm, although it contains the effect.
    """
    left = np.where(usable, value, 0.0)
    days, clusters = np.maximum(usable.sum(axis=1), 1)[:, np.newaxis], np.maximum(usable.sum(axis=0), 1)
    for _ in range(SWEEPS):
        left -= np.where(usable, left.sum(axis=0) / clusters, 0.0)
        mean = left.sum(axis=1, keepdims=True) / days
        left -= np.where(usable, mean, 0.0)
        if np.abs(mean).max(initial=0.0) <= SWEPT * np.abs(left).max(initial=0.0):
            break
    return left


def _verdict(
    name: str, difference: float, se: float, clusters: int, alpha: float, what_to_do: str, evidence: str
) -> Check:
    if se == 0.0:
        return unknown(name, alpha, "the outcomes do not vary")
    p = 2.0 * float(special.stdtr(clusters - 1.0, -abs(difference / se)))
    found = p < alpha
    said = f"{evidence}, standard error {se:.3g}, p = {p:.3g}"
    return Check(name, p, alpha, "fail" if found else "pass", what_to_do if found else "Nothing.", said)
