"""The doubly weighted estimator: published numbers, a brute-force oracle, invariances, cross-validation, refusals."""

import csv
from pathlib import Path
from typing import Literal

import cvxpy as cp
import numpy as np
import pytest

from analysis.observational.estimators.doubly_weighted import Penalties, doubly_weighted, homogeneous_effect
from analysis.observational.estimators.doubly_weighted_cv import cross_validate, placebo_units
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: published figures are printed to two decimals; weights below 1e-4 are cut
PRINTED = 0.005
Form = Literal["masked", "block-masked"]
FORMS: tuple[Form, ...] = ("masked", "block-masked")
SOME = Penalties(0.3, 0.2, 0.3)


def example(seed: int = 0) -> tuple[FloatArray, BoolArray, BoolArray]:
    rng = np.random.default_rng(seed)
    outcome = rng.normal(size=(14, 2)) @ rng.normal(size=(2, 12)) + 0.4 * rng.normal(size=(14, 12))
    treated = np.zeros((14, 12), dtype=bool)
    treated[:2, 9:] = True
    return outcome + 10, treated, np.ones_like(treated)


def prop99(shared_data: Path) -> tuple[FloatArray, BoolArray]:
    with (shared_data / "panels" / "california_prop99.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["unit"], int(row["time"])))
    outcome = np.array([float(row["packs_per_capita"]) for row in rows]).reshape(39, 31)
    return outcome, np.array([row["treated"] == "1" for row in rows]).reshape(39, 31)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("penalties", "figure"),
    [((0.25, 0.4, 0.011), -21.85), ((0.25, 0.4, np.inf), -21.01), ((0.5, 0.5, 0.5), -20.92)],
)
def test_prop_99_block_masked(shared_data: Path, penalties: tuple[float, float, float], figure: float) -> None:
    outcome, treated = prop99(shared_data)
    # the figures standardise by all cells, treated ones too
    found = doubly_weighted(
        outcome, treated, np.ones_like(treated), Penalties(*penalties), "block-masked", scale=outcome.std()
    )
    assert found.effect == pytest.approx(figure, abs=PRINTED)
    assert found.relative_gap < 1e-6


@pytest.mark.shared_data
def test_prop_99_homogeneous_effect_at_the_published_penalties(shared_data: Path) -> None:
    outcome, treated = prop99(shared_data)
    # the figure standardises by all cells, treated ones too
    found = homogeneous_effect(
        outcome, treated, np.ones_like(treated), Penalties(0.25, 0.4, 0.011), scale=outcome.std()
    )
    assert found.effect == pytest.approx(-14.77, abs=PRINTED)
    assert found.relative_gap < 1e-6


@pytest.mark.shared_data
@pytest.mark.slow
def test_prop_99_the_grid_of_27_triples_picks_a_half_of_each(shared_data: Path) -> None:
    outcome, treated = prop99(shared_data)
    scores = cross_validate(outcome, treated, np.ones_like(treated))
    assert scores.n_placebos == 38
    assert len(scores.penalties) == 27
    assert scores.best == Penalties(0.5, 0.5, 0.5)


def masked_oracle(outcome: FloatArray, treated: BoolArray, observed: BoolArray, penalties: Penalties) -> float:
    """The definition, cell by cell, with loops and a conic solver."""
    control = observed & ~treated
    scaled = (outcome - outcome[control].mean()) / outcome[control].std()
    n, t = outcome.shape
    effects = []
    for i, s in np.argwhere(treated & observed):
        weights = np.zeros((n, t))
        for j in range(n):
            common = [u for u in range(t) if control[i, u] and control[j, u]]
            distance = np.sqrt(np.mean([(scaled[i, u] - scaled[j, u]) ** 2 for u in common])) if common else np.inf
            for u in range(t):
                if control[j, u]:
                    weights[j, u] = np.exp(-penalties.unit * distance) * np.exp(-penalties.time * abs(u - s))
        low, a, b = cp.Variable((n, t)), cp.Variable((n, 1)), cp.Variable((1, t))
        fitted = low + a @ np.ones((1, t)) + np.ones((n, 1)) @ b
        residual = cp.multiply(np.sqrt(weights), np.where(control, scaled, 0) - fitted)
        cp.Problem(cp.Minimize(cp.sum_squares(residual) + penalties.nuclear * cp.norm(low, "nuc"))).solve(
            solver=cp.CLARABEL
        )
        effects.append(scaled[i, s] - (a.value[i, 0] + b.value[0, s] + low.value[i, s]))
    return float(np.mean(effects) * outcome[control].std())


def test_masked_form_agrees_with_its_definition_where_cells_are_missing_and_units_start_at_different_times() -> None:
    outcome, treated, observed = example(3)
    treated[1, 9] = False
    observed[2, 4] = observed[5, 10] = observed[0, 3] = observed[1, 11] = False
    found = doubly_weighted(np.where(observed, outcome, np.nan), treated, observed, SOME)
    assert found.effect == pytest.approx(masked_oracle(outcome, treated, observed, SOME), abs=2e-3)
    assert len(found.cell_effects) == 4


def test_forms_agree_where_one_cell_is_treated_and_time_weighs_nothing() -> None:
    outcome, treated, observed = example()
    treated[:] = False
    treated[0, -1] = True
    penalties = Penalties(0.4, 0.0, 0.3)
    effects = [doubly_weighted(outcome, treated, observed, penalties, form).effect for form in FORMS]
    assert effects[0] == pytest.approx(effects[1], abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_effect_on_the_treated_cells_moves_masked_forms_by_exactly_that(form: Form) -> None:
    outcome, treated, observed = example()
    before = doubly_weighted(outcome, treated, observed, SOME, form)
    after = doubly_weighted(outcome + 2.5 * treated, treated, observed, SOME, form)
    assert after.effect - before.effect == pytest.approx(2.5, abs=1e-9)


def test_a_constant_effect_moves_the_homogeneous_form_by_exactly_that() -> None:
    outcome, treated, observed = example()
    before = homogeneous_effect(outcome, treated, observed, SOME)
    after = homogeneous_effect(outcome + 2.5 * treated, treated, observed, SOME)
    assert after.effect - before.effect == pytest.approx(2.5, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_order_of_units_common_shocks_and_scale(form: Form) -> None:
    outcome, treated, observed = example()
    before = doubly_weighted(outcome, treated, observed, SOME, form, scale=2.0).effect
    order = np.random.default_rng(1).permutation(14)
    moved = doubly_weighted(outcome[order], treated[order], observed, SOME, form, scale=2.0).effect
    shocked = doubly_weighted(outcome + np.arange(12.0) ** 2, treated, observed, SOME, form, scale=2.0).effect
    scaled = doubly_weighted(7 * outcome, treated, observed, SOME, form, scale=14.0).effect
    assert moved == pytest.approx(before, abs=1e-3)
    assert shocked == pytest.approx(before, abs=1e-3)
    assert scaled == pytest.approx(7 * before, abs=7e-3)


def test_a_shift_of_one_unit_moves_only_its_weight() -> None:
    """Distances compare levels, so unit shifts are no invariance; without the unit penalty they are."""
    outcome, treated, observed = example()
    shifted = outcome + np.arange(14.0)[:, None]
    without = Penalties(0.0, 0.2, 0.3)
    before, after = (doubly_weighted(y, treated, observed, without, scale=2.0).effect for y in (outcome, shifted))
    assert after == pytest.approx(before, abs=1e-3)
    before, after = (doubly_weighted(y, treated, observed, SOME, scale=2.0).effect for y in (outcome, shifted))
    assert abs(after - before) > 1e-2


def test_a_ramp_in_the_effect_is_averaged_by_the_masked_forms_and_bent_by_the_homogeneous_one() -> None:
    outcome, treated, observed = example()
    ramp = np.zeros_like(outcome)
    ramp[:2, 9:] = [-3.0, 0.0, 3.0]
    plain, bent = (homogeneous_effect(y, treated, observed, SOME, scale=2.0).effect for y in (outcome, outcome + ramp))
    for form in FORMS:
        effects = [doubly_weighted(y, treated, observed, SOME, form).effect for y in (outcome, outcome + ramp)]
        assert effects[1] == pytest.approx(effects[0], abs=1e-9)
    assert abs(bent - plain) > 0.1


def test_cross_validation_scores_what_it_says_it_scores() -> None:
    outcome, treated, observed = example()
    treated[1] = False
    grid = ((0.0, 1.0), (0.2,), (0.3, np.inf))
    scores = cross_validate(outcome, treated, observed, *grid)
    controls = outcome[1:]
    effects = []
    for unit in range(13):
        placebo = np.zeros_like(controls, dtype=bool)
        placebo[unit, 9:] = True
        scale = outcome[~treated].std()
        everything = np.ones_like(placebo)
        effects.append(
            doubly_weighted(controls, placebo, everything, Penalties(1.0, 0.2, 0.3), "block-masked", scale).effect
        )
    at = scores.penalties.index(Penalties(1.0, 0.2, 0.3))
    assert scores.rmse[at] == pytest.approx(np.sqrt(np.mean(np.square(effects))), rel=1e-2)
    assert scores.n_placebos == 13
    assert scores.best == scores.penalties[int(np.argmin(scores.rmse))]


def test_placebo_blocks_use_units_about_equally_often() -> None:
    blocks = placebo_units(11, 3, 20, np.random.default_rng(0))
    used = np.bincount(np.concatenate(blocks), minlength=11)
    assert {len(block) for block in blocks} == {3}
    assert used.max() - used.min() <= 4


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nobody treated", "no treated cell"),
        ("treated from the first period", "row 1 has no control cell"),
        ("everybody treated at the end", "no control unit"),
        ("constant outcomes", "constant"),
        ("unit never observed before", "row 1 has no control cell"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_estimated_is_refused_with_its_reason(form: Form, case: str, reason: str) -> None:
    outcome, treated, observed = example()
    if case == "nobody treated":
        treated[:] = False
    elif case == "treated from the first period":
        treated[0] = True
    elif case == "everybody treated at the end":
        treated[:, -1] = True
    elif case == "constant outcomes":
        outcome[:] = 3.0
    else:
        observed[0, :9] = False
    with pytest.raises(NotEstimable, match=reason):
        doubly_weighted(outcome, treated, observed, SOME, form)


def test_cross_validation_without_controls_is_refused() -> None:
    outcome, treated, observed = example()
    treated[:13, 9:] = True
    with pytest.raises(NotEstimable, match="never treated"):
        cross_validate(outcome, treated, observed)


@pytest.mark.parametrize("triple", [(-0.1, 0.1, 1.0), (0.1, -1.0, 1.0), (0.1, 0.1, 0.0), (float("nan"), 0.1, 1.0)])
def test_penalties_out_of_range_are_refused(triple: tuple[float, float, float]) -> None:
    with pytest.raises(NotEstimable, match="at least 0"):
        Penalties(*triple)
