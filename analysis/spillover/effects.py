"""Total, direct and spillover effects beside the naive number."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from analysis.spillover.exposure import (
    Bools,
    Chances,
    Draws,
    Floats,
    Ints,
    conditions,
    joint_probabilities,
    probabilities,
    share_treated,
    wholly,
)
from analysis.spillover.linear_forms import Form, Layout, contrast_form, least_squares_forms, variance
from controller.errors import NotEstimable

#: Fewer coins than these give no interval that is worth its name.
LEAST_CLUSTERS = 6
NOT_EXPOSED = "no unit was in one of the two exposures"
NO_VARIANCE = "its variance cannot be estimated from these exposures"


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
class Linear:
    """Least squares on the own arm, the share of treated neighbours and their product, which prices that act in per
    cent need: a dearer neighbour brings less to a product that is dearer itself.
    """

    #: Of the own arm, no neighbour treated.
    direct: Contrast
    #: Of a share of one, the own arm control.
    spillover: Contrast
    #: Of both.
    total: Contrast


@dataclass(frozen=True, slots=True)
class SpilloverEffects:
    """Hajek contrasts, the linear model's, and the naive number, in the outcome's unit."""

    naive: Contrast
    total: Contrast
    #: Treated alone against none.
    direct: Contrast
    #: Controls with treated neighbours against controls without.
    spillover: Contrast
    #: None where arm and share go together, or too few units have neighbours.
    linear: Linear | None
    units: int
    clusters: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What was measured: one row for each unit and stretch of days with one assignment. Shapes (rows,).

    A stretch is a day, a block, a phase. Two stretches may be decided by one draw, as the phases of a crossover are.
    """

    outcome: Floats
    treated: Bools
    #: Shares of treated neighbours; NaN without neighbours.
    share: Floats
    unit: Ints
    #: Only rows of one stretch are compared.
    stretch: Ints
    #: The draw that decided the stretch.
    draw: Ints
    #: The cluster of the unit.
    cluster: Ints


def rows_of_one_draw(outcome: Floats, treated: Bools, weights: sparse.csr_array, label: Ints) -> Rows:
    """Rows of an experiment with one stretch."""
    n = len(outcome)
    none = np.zeros(n, dtype=np.intp)
    return Rows(outcome, treated, share_treated(treated[None], weights)[0], np.arange(n), none, none, label)


def effects_of_arrays(
    outcome: Floats, treated: Bools, weights: sparse.csr_array, draws: Draws | Chances, label: Ints
) -> SpilloverEffects:
    """Effects of one experiment at its fixed horizon.

    Args:
        outcome: shape (units,).
        treated: what was assigned, shape (units,).
        weights: of `Graph.weights`, in the order of the units, shape (units, units).
        draws: of the experiment's own design, or the probabilities that follow from it.
        label: the cluster of each unit that was randomised as one, shape (units,).

    Raises:
        NotEstimable: shapes differ, the graph has self-loops, or there are fewer than six clusters.
    """
    n = len(outcome)
    drawn = draws.treated.shape[1] if isinstance(draws, Draws) else len(draws.treated)
    if weights.shape != (n, n) or len(treated) != n or drawn != n or len(label) != n:
        raise NotEstimable(f"{n} outcomes, but arms, graph, draws or clusters are of other units: resolve names first")
    chances = draws if isinstance(draws, Chances) else chances_of(draws, weights)
    return effects_of_rows(rows_of_one_draw(outcome, treated, weights, label), weights, chances)


def effects_of_rows(rows: Rows, weights: sparse.csr_array, chances: Chances) -> SpilloverEffects:
    """The same of rows: `weights` (units, units), `chances` of each unit in a stretch, shapes (units,).

    Within a stretch means are Hajek's; stretches are averaged with the weights that a regression with an effect of each
    stretch gives them, so that what is common to a day's sales drops out. With one stretch that is Hajek's contrast.
    """
    if weights.diagonal().any():
        raise NotEstimable("a unit is its own substitute: a graph has no self-loops")
    clusters = len(np.unique(rows.cluster))
    if clusters < LEAST_CLUSTERS:
        raise NotEstimable(
            f"{clusters} clusters: at least six are needed for an interval; only the naive number is left"
        )
    coins = Layout.of(rows.cluster, rows.draw, rows.unit, weights)
    alone = Layout.of(rows.cluster, rows.draw, rows.unit, None)
    exposed = exposures_of(rows)
    pairs = {
        "total": ("all_treated", "all_control"),
        "direct": ("direct", "none"),
        "spillover": ("indirect", "none"),
    }
    of = {name: getattr(chances, name) for name in Chances.__slots__}
    found = {
        name: _hajek(name, rows, exposed[one], exposed[two], of[one], of[two], coins)
        for name, (one, two) in pairs.items()
    }
    naive = _hajek("naive", rows, rows.treated, ~rows.treated, of["treated"], 1 - of["treated"], alone)
    return SpilloverEffects(
        naive, found["total"], found["direct"], found["spillover"], _linear(rows, coins),
        len(np.unique(rows.unit)), clusters,
    )  # fmt: skip


def chances_of(draws: Draws, weights: sparse.csr_array) -> Chances:
    """The probability of each exposure for each unit, from all assignments or from redraws."""
    drawn = conditions(draws.treated, weights)
    every, nothing = wholly(draws.treated, weights)
    none, indirect, direct, both = (probabilities(drawn == number, draws) for number in range(4))
    return Chances(
        probabilities(draws.treated, draws), none, indirect, direct, both,
        probabilities(every, draws), probabilities(nothing, draws),
    )  # fmt: skip


def exposures_of(rows: Rows) -> dict[str, Bools]:
    """Which rows were in each exposure that contrasts compare."""
    alone = np.isnan(rows.share)
    share = np.nan_to_num(rows.share)
    some, all_of_them = share > 1e-12, alone | (share > 1 - 1e-12)
    return {
        "none": ~rows.treated & ~some,
        "indirect": ~rows.treated & some,
        "direct": rows.treated & ~some,
        "all_treated": rows.treated & all_of_them,
        "all_control": ~rows.treated & ~some,
    }


def _hajek(name: str, rows: Rows, one: Bools, two: Bools, p: Floats, q: Floats, layout: Layout) -> Contrast:
    possible = (p > 0) & (q > 0)
    dropped = int((~possible[np.unique(rows.unit)]).sum())
    used = possible[rows.unit]
    weight = np.zeros((2, len(rows.outcome)))
    for side, (seen, chance) in enumerate(((one, p), (two, q))):
        weight[side, used & seen] = 1 / chance[rows.unit[used & seen]]
    form = contrast_form(weight[0], weight[1], rows.stretch)
    if form is None:
        return Contrast(name, None, None, None, dropped, NOT_EXPOSED)
    return _published(name, form, rows.outcome, layout, dropped)


def _published(name: str, form: Form, outcome: Floats, layout: Layout, dropped: int) -> Contrast:
    value = float(form.coefficient @ outcome)
    found, freedom = variance(form, outcome, layout)
    if not found > 0 or not freedom >= 1:
        return Contrast(name, value, None, None, dropped, NO_VARIANCE)
    error = found**0.5
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Contrast(name, value, error, (value - half, value + half), dropped)


def _linear(rows: Rows, layout: Layout) -> Linear | None:
    """Units without neighbours say nothing of a share, and are left out."""
    kept = ~np.isnan(rows.share)
    share = np.nan_to_num(rows.share)
    columns = np.column_stack([rows.treated, share, rows.treated * share]).astype(float)
    forms = least_squares_forms(columns, kept, rows.stretch)
    if forms is None:
        return None
    direct, spill, together = forms
    left_out = len(np.unique(rows.unit)) - len(np.unique(rows.unit[kept]))
    return Linear(*(
        _published(name, form, rows.outcome, layout, left_out)
        for name, form in (("direct", direct), ("spillover", spill), ("total", direct + spill + together))
    ))  # fmt: skip


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
    total = 0.0
    for seen, drawn, chance in sides:
        joint = joint_probabilities(drawn, drawn, draws)
        scaled = np.where(seen, y / chance, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(joint > 0, 1 - np.outer(chance, chance) / joint, 0.0)
        total += float(scaled @ factor @ scaled)
        never = joint <= 0
        total += float((never.sum(axis=1) * np.where(seen, y**2 / chance, 0.0)).sum())
    (a, drawn_a, p_a), (b, drawn_b, p_b) = sides
    joint = joint_probabilities(drawn_a, drawn_b, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(joint > 0, 1 - np.outer(p_a, p_b) / joint, 0.0)
    total -= 2 * float(np.where(a, y / p_a, 0.0) @ factor @ np.where(b, y / p_b, 0.0))
    never = joint <= 0
    total += float((never.sum(axis=1) * np.where(a, y**2 / p_a, 0.0)).sum())
    total += float((never.sum(axis=0) * np.where(b, y**2 / p_b, 0.0)).sum())
    return means[0] - means[1], max(total, 0.0) / n**2, int((~possible).sum())
