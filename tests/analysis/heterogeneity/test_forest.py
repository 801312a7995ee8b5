"""The forest: known effects are found, the same bits at any number of threads, bad input refused by name."""

from collections.abc import Callable
from importlib import import_module
from typing import Literal

import numba
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from analysis.heterogeneity.forests.centring import LIKELY_PENALTIES, Basis, shrinkage
from analysis.heterogeneity.forests.fitted_forest import CausalForest, Centring
from analysis.heterogeneity.forests.forest import _chosen, causal_forest
from analysis.heterogeneity.forests.remainder import smoothed_away
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

CENTRINGS: tuple[Literal["auto"] | Centring, ...] = ("none", "boosted", "auto")


def steps(rows: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Two steps in the effect (Athey and Wager), a coin decides."""
    rng = np.random.default_rng(seed)
    x = rng.random((rows, 5))
    w = (rng.random(rows) < 0.5).astype(float)
    tau = np.where(x[:, 0] > 0.5, 3.0, 1.0)
    return x, w, x[:, 1] + w * tau + rng.standard_normal(rows), tau


@pytest.fixture(scope="module")
def fitted() -> tuple[FloatArray, FloatArray, CausalForest]:
    x, w, y, tau = steps(3000, 0)
    return x, tau, causal_forest(x, w, y, trees=200, seed=1)


def test_effects_are_found_and_their_intervals_cover(fitted: tuple[FloatArray, FloatArray, CausalForest]) -> None:
    x, tau, forest = fitted
    inner = abs(x[:, 0] - 0.5) > 0.1
    effect, error = forest.out_of_bag(x)
    assert np.sqrt(np.mean((effect - tau)[inner] ** 2)) < 0.25
    assert np.mean((abs(effect - tau) <= 1.96 * error)[inner]) > 0.85
    assert forest.importance.argmax() == 0 or forest.centring != "none"


def test_calibration_says_that_effects_differ(fitted: tuple[FloatArray, FloatArray, CausalForest]) -> None:
    x, _, forest = fitted
    found = forest.calibration(x)
    assert found.p < 1e-6
    assert found.average == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_bits_at_one_and_two_threads() -> None:
    x, w, y, _ = steps(800, 2)
    before = numba.get_num_threads()
    answers = []
    try:
        for threads in (1, min(2, vars(numba.config)["NUMBA_NUM_THREADS"])):
            numba.set_num_threads(threads)
            answers.append([causal_forest(x, w, y, trees=100, seed=7, centring=c).predict(x) for c in CENTRINGS])
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(np.array(answers[0]), np.array(answers[1]))


def test_the_mixture_of_forests_is_that_of_least_r_loss_by_brute_force() -> None:
    rng = np.random.default_rng(11)
    w, tau = rng.choice([-0.5, 0.5], 4000), rng.standard_normal(4000)
    y = w * tau + rng.standard_normal(4000)
    effects: dict[Centring, FloatArray] = {
        "none": tau + rng.standard_normal(4000),
        "ridge": 0.5 * tau,
        "boosted": tau + 0.7 * rng.standard_normal(4000),
    }
    losses = {
        (name, share): np.sum((y - w * ((1 - share) * effects["none"] + share * effects[name])) ** 2)
        for name in ("ridge", "boosted")
        for share in np.linspace(0, 1, 101)
    }
    name, share = min(losses, key=lambda one: losses[one])
    found = _chosen(effects, w, y)
    assert found[0] == name
    assert found[1] == pytest.approx(share, abs=0.006)
    assert _chosen({"none": tau, "ridge": 0.0 * tau}, w, w * tau) == ("none", 1.0)
    assert _chosen({"none": 0.0 * tau, "ridge": tau}, w, w * tau) == ("ridge", 1.0)


def test_without_differences_effects_spread_less_than_those_of_the_plain_forest() -> None:
    x, w, y, tau = steps(1500, 12)
    y = y - w * tau + 0.5 * w
    plain, chosen = (causal_forest(x, w, y, trees=100, centring=c).predict(x) for c in ("none", "auto"))
    assert chosen[0].std() < 0.5 * plain[0].std()
    assert np.mean(abs(chosen[0] - 0.5) <= 1.96 * chosen[1]) > 0.9


def test_progress_ends_with_all_trees_of_a_mixture() -> None:
    x, w, y, _ = steps(600, 13)
    told: list[tuple[int, int]] = []
    forest = causal_forest(x, w, y, trees=100, progress=lambda done, of: told.append((done, of)))
    trees = 100 if forest.weight == 1 else 200
    assert told[-1] == (trees, trees)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_clusters_are_sampled_whole() -> None:
    x, w, y, _ = steps(600, 3)
    cluster = np.arange(600) // 20
    forest = causal_forest(x, w, y, trees=100, clusters=cluster, centring="none")
    for bag in forest._in_bag:
        assert set(bag.reshape(30, 20).sum(axis=1)) == {0, 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, w, y: (np.where(x < 0.01, np.nan, x), w, y, None), "is missing or infinite"),
        (lambda x, w, y: (x, np.ones(len(w)), y, None), "every row has treatment 1"),
        (lambda x, w, y: (x, w, y, np.arange(len(w)) % 5), "5 clusters"),
        (lambda x, w, y: (x, w, y[:-1], None), "values of outcome"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_reason(
    change: Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray, IntArray | None]],
    message: str,
) -> None:
    x, w, y, _ = steps(300, 4)
    x, w, y, clusters = change(x, w, y)
    with pytest.raises(NotEstimable, match=message):
        causal_forest(x, w, y, trees=100, clusters=clusters)


def test_constant_attributes_and_ten_thousand_levels_do_no_harm() -> None:
    x, w, y, _ = steps(500, 5)
    x[:, 3], x[:, 4] = 1.0, np.arange(500) * 1e6
    effect, error = causal_forest(x, w, y, trees=100, centring="none").predict(x)
    assert np.isfinite(effect).all()
    assert np.isfinite(error).all()


def smooth(rows: int, seed: int, remainder: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A quadratic effect, and ``remainder`` times hinges of sums of columns that no quadratic follows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5))
    w = rng.choice([-0.5, 0.5], rows)
    bent = np.maximum(x[:, 0] + x[:, 1], 0) - np.maximum(x[:, 2] + x[:, 3], 0)
    tau = x[:, 0] * x[:, 1] + remainder * bent
    return x, w, w * tau + rng.standard_normal(rows)


def test_what_a_smooth_centring_leaves_out_is_estimated_without_the_truth() -> None:
    rng = np.random.default_rng(3)
    # Of hinges of N(0, 2), what is beyond squares has a mean square of 2 (1/2 - 1/(2 pi) - 1/4 - 1/(4 pi)) each.
    size = 3 * np.sqrt(4 * (0.25 - 0.75 / np.pi))
    found = smoothed_away(*smooth(8000, 1, 3.0), rng)
    assert 0.6 * size < np.sqrt(found.square) < 1.5 * size
    none = smoothed_away(*smooth(8000, 1, 0.0), rng)
    assert np.sqrt(none.square) < 0.3 * size
    assert none.square <= none.upper
    assert found.square <= found.upper


def test_an_effect_that_is_smooth_in_products_says_what_the_data_do_not_exclude() -> None:
    x, w, y = smooth(1200, 2, 1.0)
    forest = causal_forest(x, w, y, trees=100, seed=1, centring="quadratic")
    found = forest.calibration(x)
    assert found.smoothed_away_at_most >= found.smoothed_away > 0
    assert found.why_not is None or "%" in found.why_not
    plain = causal_forest(x, w, y, trees=100, seed=1, centring="none").calibration(x)
    assert plain.smoothed_away == 0


def test_few_clusters_take_the_ridge_and_their_intervals_are_said_not_to_hold() -> None:
    x, w, y, _ = steps(60, 8)
    forest = causal_forest(x, w, y, trees=100)
    assert forest.centring == "ridge"
    assert "60 clusters" in str(forest.calibration(x).why_not)


def test_columns_in_which_few_arms_differ_take_nothing_of_the_effect() -> None:
    rng = np.random.default_rng(2)
    w = np.arange(40) % 2
    x = rng.random((40, 12)) + 0.8 * w[:, None] * rng.random(12)
    forest = causal_forest(x, w, 0.5 * w + rng.normal(0, 1e-3, 40), trees=100, propensity=np.full(40, 0.5))
    assert forest.out_of_bag(x)[0] == pytest.approx(np.full(40, 0.5), abs=0.02)


def test_the_likely_penalty_is_that_of_the_normal_density_by_brute_force() -> None:
    rng = np.random.default_rng(6)
    columns, w = rng.standard_normal((30, 3)), rng.choice([-0.5, 0.5], 30)
    y = w * (1 + columns @ [0.8, 0, -0.5]) + 0.4 * rng.standard_normal(30)
    weighted, square = columns * w[:, None], np.mean(w**2)
    # Any basis of what is orthogonal to w: the restricted likelihood does not depend on it.
    beside = np.linalg.svd(w[:, None])[0][:, 1:]
    log = []
    for penalty in LIKELY_PENALTIES:
        shape = beside.T @ (np.eye(30) + weighted @ weighted.T / (penalty * square)) @ beside
        left = beside.T @ y
        noise = left @ np.linalg.solve(shape, left) / 29
        log.append(multivariate_normal.logpdf(left, cov=noise * shape) - np.log(penalty) / 2)
    share = np.exp(np.array(log) - max(log))
    expected = share.sum() / (share @ (1 / LIKELY_PENALTIES))
    shape = Basis(np.zeros(3), np.ones(3), False)
    found = shrinkage(shape, shape.of(columns), w, y, np.arange(30) % 2)
    assert found.penalty[1:] == pytest.approx(np.full(3, expected), rel=1e-6)
    assert np.linalg.eigvalsh(found.lost).min() > -1e-12


def test_the_forest_is_a_public_name_of_the_room() -> None:
    room = import_module("analysis.heterogeneity")
    assert room.causal_forest is causal_forest
    assert room.CausalForest.__name__ == "CausalForest"


def test_an_error_of_the_effects_that_a_model_finds_lowers_the_implied_coverage() -> None:
    from analysis.heterogeneity.forests.calibration import calibration

    rng = np.random.default_rng(5)
    w, x, n = rng.choice([-0.5, 0.5], 20_000), rng.standard_normal(20_000), 20_000
    y = w * x + rng.standard_normal(n)
    guess, error = 0.01 * rng.standard_normal(n), np.full(n, 0.2)
    # The effects leave out x, of mean square 1: P(|N(0, 1.04)| < 1.96 * .2) = .299.
    told = calibration(y, w, guess, error, missed=(x,))
    assert told.implied_coverage == pytest.approx(0.299, abs=0.02)
    assert calibration(y - w * x, w, guess, error, missed=(x,)).found_error == 0
