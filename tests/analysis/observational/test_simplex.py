"""The simplex solvers: certified on many panels, equal to a slow oracle, the same fast and slow."""

import cvxpy
import numpy as np
import pytest

from analysis.observational.estimators import simplex_newton
from analysis.observational.estimators.simplex import sharp_weights
from analysis.observational.estimators.simplex_newton import project_to_simplex, ridge_weights
from analysis.observational.estimators.synthetic_control import fit_difp, fit_synthetic_control
from analysis.observational.estimators.synthetic_did import fit_synthetic_did
from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable
from tests.analysis.panels import any_panel, factor_panel

#: what a certificate promises
_GAP = 1e-9


def oracle(donors: FloatArray, target: FloatArray, ridge: float) -> float:
    """Optimal objective by an interior-point method."""
    weights = cvxpy.Variable(len(donors))
    objective = cvxpy.sum_squares(donors.T @ weights - target) + ridge * cvxpy.sum_squares(weights)
    problem = cvxpy.Problem(cvxpy.Minimize(objective), [weights >= 0, cvxpy.sum(weights) == 1])
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return float(problem.value)


@pytest.mark.parametrize("fit", [fit_synthetic_control, fit_difp, fit_synthetic_did])
def test_every_certificate_is_below_a_billionth_on_200_random_panels(fit: object) -> None:
    rng = np.random.default_rng(1)
    worst = 0.0
    for _ in range(200):
        drawn = any_panel(rng)
        found = fit(drawn.outcome, drawn.n_control, drawn.n_pre)  # type: ignore[operator]
        assert found.unit_weights.min() >= 0
        assert found.unit_weights.sum() == pytest.approx(1, abs=1e-12)
        worst = max(worst, *(gap for _, gap in found.certificates))
    assert 0 <= worst < _GAP


def test_the_gap_counted_by_hand_is_a_billionth_of_the_objective_or_nothing_but_rounding() -> None:
    rng, perfect = np.random.default_rng(1), 0
    for _ in range(200):
        drawn = any_panel(rng)
        donors = drawn.outcome[: drawn.n_control, : drawn.n_pre]
        target = drawn.outcome[drawn.n_control :, : drawn.n_pre].mean(axis=0)
        fit = sharp_weights(donors, target)
        away = donors - target
        gradient = away @ (fit.weights @ away)
        objective = np.sum((fit.weights @ away) ** 2)
        gap = 2 * (objective - gradient.min())
        if gap > _GAP * objective:
            # weights in float64: sixteen digits of the distances that they average away, and no more
            averaged = fit.weights @ np.sum(away**2, axis=1)
            assert objective < 1e-5 * averaged
            assert gap < 1e-14 * averaged
            perfect += 1
    assert perfect < 50


@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_is_the_oracles(seed: int) -> None:
    drawn = factor_panel(np.random.default_rng(seed), n_control=15 + seed, n_pre=8 + seed % 5)
    donors = drawn.outcome[: drawn.n_control, : drawn.n_pre]
    target = drawn.outcome[drawn.n_control :, : drawn.n_pre].mean(axis=0)
    sharp, ridged = sharp_weights(donors, target), ridge_weights(donors, target[None], 2.5)[0]
    # an interior point stops about 1e-8 above the optimum; being below it is what an exact solver may do
    assert sharp.objective == pytest.approx(oracle(donors, target, 0.0), rel=1e-6, abs=1e-8)
    assert ridged.objective == pytest.approx(oracle(donors, target, 2.5), rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_newton_and_active_set_agree_on_the_weights(ridge: float) -> None:
    rng = np.random.default_rng(3)
    donors, target = rng.normal(size=(40, 12)), rng.normal(size=12)
    newton, active = ridge_weights(donors, target[None], ridge)[0], sharp_weights(donors, target, ridge)
    np.testing.assert_allclose(newton.weights, active.weights, atol=1e-8)


def test_the_gap_bounds_how_far_from_the_optimum_any_weights_are() -> None:
    rng = np.random.default_rng(4)
    donors, target = rng.normal(size=(30, 8)), rng.normal(size=8)
    best = sharp_weights(donors, target)
    for _ in range(20):
        other = rng.dirichlet(np.ones(30))
        assert np.sum((other @ donors - target) ** 2) >= best.objective - best.gap


def test_problems_solved_together_are_those_solved_alone() -> None:
    rng = np.random.default_rng(5)
    donors, targets = rng.normal(size=(25, 9)), rng.normal(size=(6, 9))
    allowed = rng.random((6, 25)) < 0.7
    together = ridge_weights(donors, targets, 0.4, allowed)
    for k, fit in enumerate(together):
        alone = ridge_weights(donors[allowed[k]], targets[k : k + 1], 0.4)[0]
        np.testing.assert_allclose(fit.weights[allowed[k]], alone.weights, atol=1e-12)
        assert not fit.weights[~allowed[k]].any()


def test_a_gram_matrix_at_hand_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    donors, target = rng.normal(size=(300, 10)), rng.normal(size=(1, 10))
    centred = donors - donors.mean(axis=0)
    for ridge in (0.05, 5.0, 5000.0):
        given = ridge_weights(donors, target, ridge, gram=centred.T @ centred)[0]
        np.testing.assert_allclose(given.weights, ridge_weights(donors, target, ridge)[0].weights, atol=1e-12)


def test_screening_thousands_of_donors_finds_the_same_optimum_as_all_at_once() -> None:
    rng = np.random.default_rng(7)
    donors, target = rng.normal(size=(3000, 30)) * 0.2 + rng.normal(size=(3000, 1)), rng.normal(size=30)
    screened = sharp_weights(donors, target)
    support = np.flatnonzero(screened.weights)
    assert screened.relative_gap < _GAP
    # the optimum over all donors is the optimum over its own support
    assert sharp_weights(donors[support], target).objective == pytest.approx(screened.objective, rel=1e-9)


def test_a_copied_donor_is_a_perfect_fit() -> None:
    rng = np.random.default_rng(8)
    donors = rng.normal(size=(10, 14))
    fit = sharp_weights(donors, donors[3])
    assert fit.weights[3] == pytest.approx(1, abs=1e-7)
    assert fit.objective < 1e-14


def test_a_copied_donor_stays_certified_whatever_the_machine_rounds_to() -> None:
    """Many panels and scales: a mean of distances that is all rounding is never what a gap is held against."""
    rng = np.random.default_rng(8)
    for k in range(300):
        donors = rng.normal(10.0, 3.0, (30, 12)) * 10.0 ** rng.integers(-3, 4)
        target = donors[k % 30] * (1.0 + rng.choice([0.0, 1e-16, 1e-15]))
        for fit in (
            sharp_weights(donors, target),
            *ridge_weights(donors, target[None], 1e-12 * float(target @ target)),
        ):
            assert fit.relative_gap < _GAP
            assert fit.weights[k % 30] == pytest.approx(1.0, abs=1e-6)


def test_projection_to_the_simplex_is_the_nearest_point() -> None:
    # (1, 0.4): excess 0.4 spread over both gives (0.8, 0.2); (3, 0): all on the first
    np.testing.assert_allclose(project_to_simplex(np.array([[1.0, 0.4], [3.0, 0.0]])), [[0.8, 0.2], [1.0, 0.0]])


def test_no_donor_is_refused() -> None:
    with pytest.raises(NotEstimable, match="no control unit"):
        sharp_weights(np.empty((0, 4)), np.zeros(4))
    with pytest.raises(NotEstimable, match="no control unit"):
        ridge_weights(np.empty((0, 4)), np.zeros((1, 4)), 1.0)


def test_stacked_and_single_newton_steps_agree() -> None:
    rng = np.random.default_rng(9)
    donors, off = rng.normal(size=(20, 6)), rng.normal(size=(3, 6))
    weights = rng.dirichlet(np.full(20, 0.2), size=3) * (rng.random((3, 20)) < 0.6)
    ridges = np.array([0.1, 1.0, 10.0])
    stacked = simplex_newton._stacked_steps(simplex_newton._outer_products(donors), weights, off[:, :, None], ridges)
    for k in range(3):
        gram = simplex_newton._SupportGram(donors, None)
        gram.centred_at(weights[(k + 1) % 3] > 0)  # carried over from another support
        np.testing.assert_allclose(simplex_newton._single_step(gram, weights[k], off[k], ridges[k]), stacked[k])
