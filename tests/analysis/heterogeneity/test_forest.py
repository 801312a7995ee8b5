"""The forest: known effects are found, the same bits at any number of threads, bad input refused by name."""

import numba
import numpy as np
import pytest

from analysis.heterogeneity.forests.forest import causal_forest
from controller.errors import NotEstimable


def steps(rows, seed):
    """Two steps in the effect (Athey and Wager), a coin decides."""
    rng = np.random.default_rng(seed)
    x = rng.random((rows, 5))
    w = (rng.random(rows) < 0.5).astype(float)
    tau = 1.0 + 2.0 * (x[:, 0] > 0.5)
    return x, w, x[:, 1] + w * tau + rng.standard_normal(rows), tau


@pytest.fixture(scope="module")
def fitted():
    x, w, y, tau = steps(3000, 0)
    return x, tau, causal_forest(x, w, y, trees=200, seed=1)


def test_effects_are_found_and_their_intervals_cover(fitted):
    x, tau, forest = fitted
    inner = abs(x[:, 0] - 0.5) > 0.1
    effect, error = forest.out_of_bag(x)
    assert np.sqrt(np.mean((effect - tau)[inner] ** 2)) < 0.25
    assert np.mean((abs(effect - tau) <= 1.96 * error)[inner]) > 0.85
    assert forest.importance.argmax() == 0 or forest.centring != "none"


def test_calibration_says_that_effects_differ(fitted):
    x, _, forest = fitted
    found = forest.calibration(x)
    assert found.p < 1e-6
    assert found.average == pytest.approx(1.0, abs=0.1)


def test_the_same_seed_gives_the_same_bits_at_one_and_two_threads():
    x, w, y, _ = steps(800, 2)
    before = numba.get_num_threads()
    answers = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            answers.append(
                [causal_forest(x, w, y, trees=100, seed=7, centring=c).predict(x) for c in ("none", "boosted")]
            )
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(np.array(answers[0]), np.array(answers[1]))


def test_clusters_are_sampled_whole():
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
def test_what_cannot_be_fitted_is_refused_with_its_reason(change, message):
    x, w, y, _ = steps(300, 4)
    x, w, y, clusters = change(x, w, y)
    with pytest.raises(NotEstimable, match=message):
        causal_forest(x, w, y, trees=100, clusters=clusters)


def test_constant_attributes_and_ten_thousand_levels_do_no_harm():
    x, w, y, _ = steps(500, 5)
    x[:, 3], x[:, 4] = 1.0, np.arange(500) * 1e6
    effect, error = causal_forest(x, w, y, trees=100, centring="none").predict(x)
    assert np.isfinite(effect).all()
    assert np.isfinite(error).all()


def test_intervals_are_said_not_to_hold_where_effects_are_smooth_in_products():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2000, 3))
    w = (rng.random(2000) < 0.5).astype(float)
    y = w * 2 * x[:, 0] * x[:, 1] + rng.standard_normal(2000)
    forest = causal_forest(x, w, y, trees=100, seed=1)
    assert forest.centring == "quadratic"
    found = forest.calibration(x)
    assert not found.intervals_hold
    assert found.why_not


def test_an_error_of_the_effects_that_a_model_finds_lowers_the_implied_coverage():
    from analysis.heterogeneity.forests.calibration import calibration

    rng = np.random.default_rng(5)
    w, x, n = rng.choice([-0.5, 0.5], 20_000), rng.standard_normal(20_000), 20_000
    y = w * x + rng.standard_normal(n)
    guess, error = 0.01 * rng.standard_normal(n), np.full(n, 0.2)
    # The effects leave out x, of mean square 1: P(|N(0, 1.04)| < 1.96 * .2) = .299.
    told = calibration(y, w, guess, error, missed=(x,))
    assert told.implied_coverage == pytest.approx(0.299, abs=0.02)
    assert calibration(y - w * x, w, guess, error, missed=(x,)).found_error == 0
