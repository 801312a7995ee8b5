"""Matrix completion: published numbers, the small panel that stands for a tall one, invariances, refusals."""

import csv
from pathlib import Path

import numpy as np
import pytest

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.matrix_completion import fit_matrix_completion, matrix_completion
from analysis.observational.estimators.placebo_folds import latin_cells, placebo_blocks
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: a certified gap of 1e-7 of the objective leaves estimates uncertain by about its root times the noise
FIT_ATOL = 1e-3


def example(seed: int = 0, n: int = 60, t: int = 20) -> tuple[FloatArray, BoolArray]:
    rng = np.random.default_rng(seed)
    outcome = rng.normal(size=(n, 2)) @ rng.normal(size=(2, t)) + rng.normal(size=(n, t)) + 3 * rng.normal(size=(n, 1))
    treated = np.zeros((n, t), dtype=bool)
    treated[:5, 14:] = True
    return outcome, treated


def prop99(shared_data: Path) -> tuple[FloatArray, BoolArray]:
    with (shared_data / "panels" / "california_prop99.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["unit"], int(row["time"])))
    outcome = np.array([float(row["packs_per_capita"]) for row in rows]).reshape(39, 31)
    return outcome, np.array([row["treated"] == "1" for row in rows]).reshape(39, 31)


@pytest.mark.shared_data
def test_prop_99_gives_the_exact_optimum_of_the_published_path(shared_data: Path) -> None:
    outcome, treated = prop99(shared_data)
    found = matrix_completion(outcome, treated, np.ones_like(treated))
    assert found.effect == pytest.approx(-20.218, abs=1e-3)
    assert found.fit.relative_gap < 1e-6
    # the eighth step of a sixth of a decade below 2 s_1(P_O(Y - mean))/|O|
    control = ~treated
    centred = np.where(control, outcome - outcome[control].mean(), 0)
    assert found.fit.penalty == pytest.approx(2 * np.linalg.norm(centred, 2) / control.sum() * 10 ** (-8 / 6))


@pytest.mark.shared_data
def test_prop_99_without_a_low_rank_part_is_difference_in_differences(shared_data: Path) -> None:
    outcome, treated = prop99(shared_data)
    assert matrix_completion(outcome, treated, np.ones_like(treated), np.inf).effect == pytest.approx(
        -27.3491, abs=1e-4
    )


def test_a_tall_panel_and_its_pooled_rows_have_the_same_fit() -> None:
    outcome, treated = example(n=300, t=12)
    treated[:] = False
    treated[:40, 8:] = True
    treated[40:60, 5:] = True
    pooled = fit_matrix_completion(outcome, ~treated, penalty=0.002)
    units = low_rank.solve(
        low_rank.weighted_panel(outcome, ~treated, np.full(300, 1 / (~treated).sum())), 0.002, tolerance=1e-8
    )
    assert pooled.objective == pytest.approx(units.objective, rel=1e-6)
    fitted = units.unit_effects[:, None] + units.time_effects + units.left @ units.right.T
    np.testing.assert_allclose(pooled.counterfactual(), fitted, atol=FIT_ATOL)


def test_cross_validation_of_pooled_rows_is_that_of_the_units() -> None:
    outcome, treated = example(n=200, t=8)
    control = ~treated
    folds = latin_cells(outcome.shape, np.random.default_rng(1))
    found = fit_matrix_completion(outcome, control, folds=folds).cross_validation
    assert found is not None
    penalty, squares = float(found.penalties[3]), 0.0
    for hidden_by_class in folds.hidden:
        hidden = hidden_by_class[folds.unit_class] & control
        fit = fit_matrix_completion(outcome, control & ~hidden, penalty)
        squares += ((outcome - fit.counterfactual())[hidden] ** 2).sum()
    assert found.rmse[3] == pytest.approx(np.sqrt(squares / control.sum()), rel=1e-4)


def test_latin_folds_hide_every_cell_once_and_every_unit_equally() -> None:
    folds = latin_cells((23, 15), np.random.default_rng(0))
    hidden = folds.hidden[:, folds.unit_class]
    assert (hidden.sum(axis=0) == 1).all()
    assert (hidden.sum(axis=2) == 3).all()


def test_placebo_blocks_hide_each_control_unit_once_in_the_periods_of_a_treated_one() -> None:
    treated = np.zeros((12, 10), dtype=bool)
    treated[0, 6:] = treated[1, 8:] = True
    for folds in (placebo_blocks(treated), placebo_blocks(treated, np.random.default_rng(0), n_folds=3)):
        hidden = folds.hidden[:, folds.unit_class]
        assert not hidden[:, :2].any()
        assert (hidden.any(axis=2).sum(axis=0)[2:] == 1).all()
        lengths = sorted(hidden.sum(axis=(0, 2))[2:])
        assert lengths == [2] * 5 + [4] * 5


def test_missing_cells_hold_no_information_whatever_stands_there() -> None:
    outcome, treated = example()
    observed = np.random.default_rng(2).random(outcome.shape) < 0.8
    found = matrix_completion(np.where(observed, outcome, np.nan), treated, observed, penalty=0.003)
    other = matrix_completion(np.where(observed, outcome, 1e6), treated, observed, penalty=0.003)
    assert found.effect == other.effect
    # a brute-force oracle: soft-thresholding, thousands of plain steps
    control = observed & ~treated
    low, fitted = np.zeros_like(outcome), np.zeros_like(outcome)
    for _ in range(6000):
        filled = np.where(control, outcome, fitted)
        rows, columns = filled.mean(axis=1, keepdims=True), filled.mean(axis=0, keepdims=True)
        additive = rows + columns - filled.mean()
        u, s, vt = np.linalg.svd(filled - additive, full_matrices=False)
        low = (u * np.maximum(s - 0.003 * control.sum() / 2, 0)) @ vt
        fitted = additive + low
    oracle = (outcome - fitted)[treated & observed].mean()
    assert found.effect == pytest.approx(oracle, abs=FIT_ATOL)


def test_unit_and_period_shifts_change_nothing() -> None:
    outcome, treated = example()
    observed, rng = np.ones_like(treated), np.random.default_rng(5)
    shifted = outcome + 50 * rng.normal(size=(60, 1)) + 50 * rng.normal(size=20)
    before = matrix_completion(outcome, treated, observed, 0.003).effect
    assert matrix_completion(shifted, treated, observed, 0.003).effect == pytest.approx(before, abs=1e-5)


def test_scaling_the_outcome_scales_the_effect_and_the_chosen_penalty() -> None:
    outcome, treated = example(n=20)
    before = matrix_completion(outcome, treated, np.ones_like(treated))
    after = matrix_completion(100 * outcome, treated, np.ones_like(treated))
    assert after.effect == pytest.approx(100 * before.effect, abs=100 * FIT_ATOL)
    assert after.fit.penalty == pytest.approx(100 * before.fit.penalty)


def test_the_order_of_units_and_of_periods_does_not_matter() -> None:
    outcome, treated = example(n=20)
    rng = np.random.default_rng(6)
    rows, columns = rng.permutation(20), rng.permutation(20)
    before = matrix_completion(outcome, treated, np.ones_like(treated))
    after = matrix_completion(outcome[rows][:, columns], treated[rows][:, columns], np.ones_like(treated))
    assert after.effect == pytest.approx(before.effect, abs=FIT_ATOL)


def test_a_constant_effect_on_the_treated_cells_moves_the_estimate_by_exactly_that() -> None:
    outcome, treated = example()
    before = matrix_completion(outcome, treated, np.ones_like(treated)).effect
    after = matrix_completion(outcome + 2.5 * treated, treated, np.ones_like(treated)).effect
    assert after - before == pytest.approx(2.5, abs=1e-9)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nobody treated", "no treated cell"),
        ("treated from the first period", "row 1 has no control cell"),
        ("everybody treated at the end", "no control unit"),
        ("constant outcomes", "constant"),
        ("two islands", "no chain of control cells"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_its_reason(case: str, reason: str) -> None:
    outcome, treated = example()
    observed = np.ones_like(treated)
    if case == "nobody treated":
        treated[:] = False
    elif case == "treated from the first period":
        treated[0] = True
    elif case == "everybody treated at the end":
        treated[:, -1] = True
    elif case == "constant outcomes":
        outcome[:] = 3.0
    else:
        # units 0..29 are only seen early, units 30.. only late; the treated ones late and never as controls there
        observed[:30, 10:] = observed[30:, :10] = False
        observed[:5, 14:] = True
    with pytest.raises(NotEstimable, match=reason):
        matrix_completion(outcome, treated, observed, penalty=0.01)


def test_an_all_missing_unit_is_named_when_a_matrix_is_completed() -> None:
    outcome, _ = example()
    observed = np.ones(outcome.shape, dtype=bool)
    observed[7] = False
    with pytest.raises(NotEstimable, match="unit in row 8"):
        fit_matrix_completion(outcome, observed, penalty=0.01)
