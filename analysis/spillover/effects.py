"""Total, direct and spillover effects beside the naive number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from analysis.spillover.exposure import (
    CONDITIONS,
    Draws,
    conditions,
    joint_probabilities,
    probabilities,
    share_treated,
    wholly,
)
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One effect; without a number the reason."""

    #: naive, total, direct, spillover.
    name: str
    value: float | None
    standard_error: float | None
    #: 95 %, fixed horizon.
    interval: tuple[float, float] | None
    #: Units whose probability of one of the two exposures is zero: no statement is about them.
    dropped: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SpilloverEffects:
    """Hajek contrasts, the linear model's, and the naive number, in the outcome's unit."""

    naive: Contrast
    total: Contrast
    #: Treated alone against none.
    direct: Contrast
    #: Controls with treated neighbours against controls without.
    spillover: Contrast
    #: Of Y on the own arm and the neighbours' share: (direct, of a share of one, their sum).
    linear: tuple[float, float, float] | None


def spillover_effects(
    outcome: Floats, treated: Bools, weights: sparse.csr_array, draws: Draws, label: Ints
) -> SpilloverEffects:
    """Effects of one experiment at its fixed horizon.

    Args:
        outcome: shape (units,).
        treated: what was assigned, shape (units,).
        weights: of `Graph.weights`, in the order of the units, shape (units, units).
        draws: of the experiment's own design.
        label: the cluster of each unit that was randomised as one, shape (units,).

    Raises:
        NotEstimable: shapes differ, the graph has self-loops, or there are fewer than six clusters.
    """
    n = len(outcome)
    if weights.shape != (n, n) or len(treated) != n or draws.treated.shape[1] != n or len(label) != n:
        raise NotEstimable(f"{n} outcomes, but arms, graph, draws or clusters are of other units: resolve names first")
    if weights.diagonal().any():
        raise NotEstimable("a unit is its own substitute: a graph has no self-loops")
    groups = len(np.unique(label))
    if groups < 6:
        raise NotEstimable(f"{groups} clusters: at least six are needed for an interval; only the naive number is left")
    now = conditions(treated[None], weights)[0]
    drawn = conditions(draws.treated, weights)
    all_now, none_now = (part[0] for part in wholly(treated[None], weights))
    all_drawn, none_drawn = wholly(draws.treated, weights)
    linked = dependent(label, weights)
    position = {name: number for number, name in enumerate(CONDITIONS)}

    def between(name: str, one: str, two: str) -> Contrast:
        a, b = position[one], position[two]
        return hajek(name, outcome, now == a, now == b, drawn == a, drawn == b, draws, linked, label)

    same = (label[:, None] == label[None, :]).astype(float)
    plain = (treated, ~treated, draws.treated, ~draws.treated)
    return SpilloverEffects(
        hajek("naive", outcome, *plain, draws, same, label),
        hajek("total", outcome, all_now, none_now, all_drawn, none_drawn, draws, linked, label),
        between("direct", "direct", "none"),
        between("spillover", "indirect", "none"),
        linear_in_share(outcome, treated, weights),
    )


def hajek(
    name: str,
    outcome: Floats,
    one: Bools,
    two: Bools,
    one_drawn: Bools,
    two_drawn: Bools,
    draws: Draws,
    linked: Floats,
    label: Ints,
) -> Contrast:
    """A difference of weighted means, its variance by linearisation over units that depend on a common cluster.

    Args:
        linked: 1 where two units' exposures depend on a common cluster, shape (units, units).
        label: the cluster of each unit, shape (units,).
    """
    p, q = probabilities(one_drawn, draws), probabilities(two_drawn, draws)
    possible = (p > 0) & (q > 0)
    dropped = int((~possible).sum())
    a, b = one & possible, two & possible
    if not a.any() or not b.any():
        return Contrast(name, None, None, None, dropped, "no unit was in one of the two exposures")
    v, w = np.where(a, 1 / np.where(possible, p, 1), 0), np.where(b, 1 / np.where(possible, q, 1), 0)
    v, w = v / v.sum(), w / w.sum()
    value = float((v - w) @ outcome)
    variance, freedom = _variance(outcome, v, w, a, b, linked, label)
    if not variance > 0 or not freedom >= 1:
        return Contrast(name, value, None, None, dropped, "its variance cannot be estimated from these exposures")
    error = variance**0.5
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Contrast(name, value, error, (value - half, value + half), dropped)


def _variance(
    outcome: Floats, v: Floats, w: Floats, a: Bools, b: Bools, linked: Floats, label: Ints
) -> tuple[float, float]:
    """The linearised variance, made unbiased for shocks common to a cluster, and Satterthwaite's degrees of freedom.

    Residuals are from the two means, which takes from every pair of linked units; the factor that gives it back is
    Bell and McCaffrey's idea (2002) with the dependence of exposures in place of clusters.
    """
    used = np.flatnonzero(a | b)
    weight = (v - w)[used]
    demeaned = np.eye(len(used)) - np.outer(a[used], v[used]) - np.outer(b[used], w[used])
    influence = weight[:, None] * demeaned
    form = influence.T @ linked[np.ix_(used, used)] @ influence
    shocks = (label[used][:, None] == label[used][None, :]).astype(float)
    expected = form @ shocks
    trace = float(np.trace(expected))
    if not trace > 0:
        return float("nan"), 0.0
    raw = float(outcome[used] @ form @ outcome[used])
    return raw * float(weight @ shocks @ weight) / trace, trace**2 / float((expected * expected.T).sum())


def dependent(label: Ints, weights: sparse.csr_array) -> Floats:
    """Whether the exposures of two units depend on a common cluster, shape (units, units)."""
    reached = sparse.csr_array((np.ones(len(label)), (np.arange(len(label)), label)))
    reached = reached + (weights != 0).astype(float) @ reached
    shared: Floats = ((reached @ reached.T).toarray() > 0).astype(float)
    return shared


def horvitz_thompson(
    outcome: Floats, one: Bools, two: Bools, one_drawn: Bools, two_drawn: Bools, draws: Draws
) -> tuple[float, float, int]:
    """The contrast, unbiased over the design for units with both exposures possible; a variance; units dropped.

    The variance is Aronow and Samii's by joint probabilities; for pairs that are never exposed together it is an upper
    bound by Young's inequality, so on average it is never too small.
    """
    p, q = probabilities(one_drawn, draws), probabilities(two_drawn, draws)
    possible = (p > 0) & (q > 0)
    if not possible.any():
        raise NotEstimable("no unit can be in both exposures under this design")
    y = outcome[possible]
    n = len(y)
    sides = (
        (one[possible], one_drawn[:, possible], p[possible]),
        (two[possible], two_drawn[:, possible], q[possible]),
    )
    means = [float((y * seen / chance).sum() / n) for seen, _, chance in sides]
    variance = 0.0
    for seen, drawn, chance in sides:
        joint = joint_probabilities(drawn, drawn, draws)
        scaled = np.where(seen, y / chance, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(joint > 0, 1 - np.outer(chance, chance) / joint, 0.0)
        variance += float(scaled @ factor @ scaled)
        never = joint <= 0
        variance += float((never.sum(axis=1) * np.where(seen, y**2 / chance, 0.0)).sum())
    (a, drawn_a, p_a), (b, drawn_b, p_b) = sides
    joint = joint_probabilities(drawn_a, drawn_b, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(joint > 0, 1 - np.outer(p_a, p_b) / joint, 0.0)
    variance -= 2 * float(np.where(a, y / p_a, 0.0) @ factor @ np.where(b, y / p_b, 0.0))
    never = joint <= 0
    variance += float((never.sum(axis=1) * np.where(a, y**2 / p_a, 0.0)).sum())
    variance += float((never.sum(axis=0) * np.where(b, y**2 / p_b, 0.0)).sum())
    return means[0] - means[1], max(variance, 0.0) / n**2, int((~possible).sum())


def linear_in_share(outcome: Floats, treated: Bools, weights: sparse.csr_array) -> tuple[float, float, float] | None:
    """Least squares on the own arm and the neighbours' share, units with neighbours; None if they go together."""
    share = share_treated(treated[None], weights)[0]
    kept = ~np.isnan(share)
    x = np.column_stack([np.ones(int(kept.sum())), treated[kept], share[kept]])
    if len(x) < 4 or np.linalg.matrix_rank(x) < 3:
        return None
    _, direct, spill = np.linalg.lstsq(x, outcome[kept])[0]
    return float(direct), float(spill), float(direct + spill)
