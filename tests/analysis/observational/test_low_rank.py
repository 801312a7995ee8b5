"""The shared solver: its optimum is proved by a duality gap, and a general-purpose solver agrees."""

import cvxpy as cp
import numpy as np
import pytest

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.low_rank import LowRankFit, WeightedPanel
from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable

#: what the certificate promises, relative to the objective
CERTIFIED = 1e-6
#: what the conic solver reaches, relative to the objective
ORACLE_RTOL = 1e-5


def random_problem(seed: int, largest: int) -> tuple[WeightedPanel, float]:
    """A panel of random size, rank, noise, missing cells and weights, and a penalty within three decades."""
    rng = np.random.default_rng(seed)
    n, t = rng.integers(4, largest, size=2)
    rank = rng.integers(1, 4)
    outcome = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, t)) * rng.uniform(0.2, 3)
    outcome += rng.normal(size=(n, t)) * rng.uniform(0.05, 1) + 5 * rng.normal(size=(n, 1))
    mask = rng.random((n, t)) < rng.uniform(0.6, 1)
    mask[rng.integers(n)] = True
    mask[:, rng.integers(t)] = True
    rows, columns = np.exp(-rng.exponential(1, n)), np.exp(-rng.uniform(0, 0.4) * np.arange(t)[::-1])
    panel = low_rank.weighted_panel(np.where(mask, outcome, np.nan), mask, rows, columns)
    return panel, zero_penalty(panel) * 10 ** rng.uniform(-2.5, 0)


def zero_penalty(panel: WeightedPanel) -> float:
    """The smallest penalty at which there is no low-rank part."""
    a, b = low_rank.two_way_effects(panel, panel.outcome)
    return float(np.linalg.norm(2 * panel.weights * (panel.outcome - a[:, None] - b), 2))


def objective(panel: WeightedPanel, penalty: float, fit: LowRankFit) -> float:
    """The objective by its definition, with a dense singular value decomposition."""
    low = fit.left @ fit.right.T
    fitted = fit.unit_effects[:, None] + panel.loadings[:, None] * fit.time_effects + low
    shared = 0.0 if panel.shared is None else fit.shared_effect * panel.shared
    return float((panel.weights * (panel.outcome - fitted - shared) ** 2).sum() + penalty * np.linalg.norm(low, "nuc"))


def lower_bound(panel: WeightedPanel, penalty: float, fit: LowRankFit) -> float:
    """A dual value that owes nothing to the solver: the residual, made feasible by hand."""
    low = fit.left @ fit.right.T
    a, b = low_rank.two_way_effects(panel, panel.outcome - low)
    z = 2 * panel.weights * (panel.outcome - low - a[:, None] - b)
    assert abs(z.sum(axis=0)).max() < 1e-8
    assert abs(z.sum(axis=1)).max() < 1e-8
    z *= penalty / np.linalg.norm(z, 2)
    seen = panel.weights > 0
    return float((z * panel.outcome).sum() - (z[seen] ** 2 / (4 * panel.weights[seen])).sum())


def test_two_hundred_random_panels_are_certified_optimal() -> None:
    for seed in range(200):
        panel, penalty = random_problem(seed, largest=18)
        fit = low_rank.solve(panel, penalty)
        value = objective(panel, penalty, fit)
        assert value == pytest.approx(fit.objective, rel=1e-9), seed
        assert value - lower_bound(panel, penalty, fit) + 1e-9 * value >= 0, seed
        assert value - lower_bound(panel, penalty, fit) < CERTIFIED * value, seed


@pytest.mark.parametrize("seed", range(6))
def test_a_conic_solver_finds_no_better_fit(seed: int) -> None:
    panel, penalty = random_problem(1000 + seed, largest=9)
    fit = low_rank.solve(panel, penalty)
    n, t = panel.outcome.shape
    low, a, b = cp.Variable((n, t)), cp.Variable((n, 1)), cp.Variable((1, t))
    residual = panel.outcome - low - a @ np.ones((1, t)) - np.ones((n, 1)) @ b
    loss = cp.sum_squares(cp.multiply(np.sqrt(panel.weights), residual))
    problem = cp.Problem(cp.Minimize(loss + penalty * cp.norm(low, "nuc")))
    problem.solve(solver=cp.CLARABEL)
    assert fit.objective == pytest.approx(problem.value, rel=ORACLE_RTOL)
    assert fit.objective <= problem.value * (1 + CERTIFIED)


def test_a_shared_effect_is_fitted_to_the_same_certificate() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        outcome = rng.normal(size=(15, 2)) @ rng.normal(size=(2, 12)) + 0.3 * rng.normal(size=(15, 12))
        shared = np.zeros((15, 12))
        shared[:4, 8:] = 1.0
        panel = low_rank.weighted_panel(
            outcome + 1.5 * shared, np.ones((15, 12), dtype=bool), rng.uniform(0.1, 1, 15), shared=shared
        )
        fit = low_rank.solve(panel, 0.4)
        assert objective(panel, 0.4, fit) == pytest.approx(fit.objective, rel=1e-9)
        assert fit.relative_gap < CERTIFIED


def test_a_saddle_where_extrapolation_would_stay_is_left() -> None:
    """Units far from all others give them weights of 1e-3: the low-rank part then starts from almost nothing."""
    rng = np.random.default_rng(4)
    outcome = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 25))
    mask = np.ones((30, 25), dtype=bool)
    mask[0, 15:] = False
    rows = np.full(30, 2e-3)
    rows[0] = 1.0
    panel = low_rank.weighted_panel(outcome, mask, rows, np.exp(-0.5 * np.abs(np.arange(25) - 20)))
    for share in (0.9, 0.3, 0.05, 0.01):
        assert low_rank.solve(panel, share * zero_penalty(panel)).relative_gap < CERTIFIED


def test_an_infinite_penalty_leaves_weighted_two_way_fixed_effects() -> None:
    panel, _ = random_problem(7, largest=12)
    fit = low_rank.solve(panel, np.inf)
    n, t = panel.outcome.shape
    design = np.vstack([np.column_stack([np.eye(n)[i][None].repeat(t, 0), np.eye(t)]) for i in range(n)])
    root = np.sqrt(panel.weights.ravel())
    effects = np.linalg.lstsq(design * root[:, None], panel.outcome.ravel() * root, rcond=None)[0]
    fitted: FloatArray = (design @ effects).reshape(n, t)
    assert fit.rank == 0
    np.testing.assert_allclose(fit.unit_effects[:, None] + fit.time_effects, fitted, atol=1e-9)


def test_lines_with_a_mask_each_and_lines_that_share_masks_give_the_same_regression() -> None:
    rng = np.random.default_rng(3)
    target, factor = rng.normal(size=(40, 10)), rng.normal(size=(10, 3))
    mask = np.repeat(rng.random((4, 10)) < 0.7, 10, axis=0)
    mask[:, 0] = True
    own, cells, loadings = rng.uniform(0.1, 1, 40), rng.uniform(0.1, 1, 10), rng.uniform(0.5, 1, 10)
    groups = low_rank.Groups.of(mask)
    assert len(groups.members) <= 4
    together = low_rank.ridge_lines(target, own, cells, loadings, groups, factor, 0.3)
    for i in range(40):
        weights = np.diag(own[i] * cells * mask[i])
        design = np.column_stack([loadings, factor])
        alone = np.linalg.solve(
            design.T @ weights @ design + 0.3 * np.diag([0, 1, 1, 1]), design.T @ weights @ target[i]
        )
        np.testing.assert_allclose(np.append(together[0][i], together[1][i]), alone, atol=1e-10)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_refused(penalty: float) -> None:
    panel, _ = random_problem(1, largest=8)
    with pytest.raises(NotEstimable, match="penalty"):
        low_rank.solve(panel, penalty)


def test_a_row_without_cells_is_refused() -> None:
    mask = np.ones((3, 4), dtype=bool)
    mask[1] = False
    with pytest.raises(NotEstimable, match="row 2 has no cell"):
        low_rank.weighted_panel(np.zeros((3, 4)), mask)
