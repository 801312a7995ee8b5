"""Closed forms against refits, enumeration against loops, refusals, and what intervals promise."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.observational.estimators.did import did_standard_error, fit_did
from analysis.observational.inference.bootstrap import bootstrap_effects
from analysis.observational.inference.conditional import conditional_variances
from analysis.observational.inference.jackknife import jackknife_se, leave_out_effects
from analysis.observational.inference.placebo import placebo_effects, subsets_of
from analysis.observational.panel_estimate import estimate_panel
from analysis.observational.panel_fit import fit_panel, group_codes
from controller.errors import NotEstimable
from tests.analysis.panels import factor_panel, panel_of

WEIGHTED = tuple(name for name, estimator in ESTIMATORS.items() if isinstance(estimator, WeightedEstimator))


@pytest.mark.parametrize("method", WEIGHTED)
def test_the_jackknife_in_closed_form_is_the_loop_with_fixed_weights(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(0))
    fit = fit_panel(drawn.panel(), method)
    weights, times = fit.fits[0].unit_weights, fit.fits[0].time_weights  # type: ignore[union-attr]
    n_control, n_pre = drawn.n_control, drawn.n_pre
    changes = drawn.outcome[:, n_pre:].mean(axis=1) - drawn.outcome[:, :n_pre] @ times
    looped = []
    for i in range(len(drawn.outcome)):
        kept = np.arange(len(drawn.outcome)) != i
        left = weights * kept[:n_control]
        looped.append(changes[n_control:][kept[n_control:]].mean() - left @ changes[:n_control] / left.sum())
    np.testing.assert_allclose(leave_out_effects(fit, np.arange(24)), looped, atol=1e-12)
    spread = np.sqrt(23 / 24 * np.sum((looped - np.mean(looped)) ** 2))
    assert jackknife_se(fit, np.arange(24)) == pytest.approx(spread, rel=1e-12)


def test_the_jackknife_over_clusters_leaves_whole_clusters_out() -> None:
    drawn = factor_panel(np.random.default_rng(1), n_control=20, n_treated=4)
    labels = tuple(f"c{k // 2}" for k in range(24))
    panel = replace(drawn.panel(), clusters=labels)
    fit = fit_panel(panel, "did")
    effects = leave_out_effects(fit, group_codes(panel))
    assert len(effects) == 12
    kept = [k for k in range(24) if labels[k] != "c11"]
    expected = fit_did(drawn.outcome[kept], 20, drawn.n_pre).effect
    assert effects[group_codes(panel)[23]] == pytest.approx(expected, abs=1e-12)


def test_the_jackknife_refuses_a_control_that_carries_all_the_weight() -> None:
    drawn = factor_panel(np.random.default_rng(2), n_treated=2)
    drawn.outcome[drawn.n_control :] = drawn.outcome[5]
    with pytest.raises(NotEstimable, match=r"u5 .*carries all the weight"):
        jackknife_se(fit_panel(drawn.panel(), "sc"), np.arange(22))


@pytest.mark.parametrize("method", WEIGHTED)
def test_placebos_enumerate_every_subset_of_few_controls(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(3), n_control=8, n_treated=2)
    fit = fit_panel(drawn.panel(), method)
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    placebos = placebo_effects(fit, 500, np.random.default_rng(0))
    assert placebos.enumerated
    assert len(placebos.effects) == 28  # 8 * 7 / 2
    if method == "sdid":
        return  # its ridge stays that of the real fit: the next test
    for k, subset in enumerate(combinations(range(8), 2)):
        others = [i for i in range(8) if i not in subset]
        expected = estimator.fit(drawn.outcome[[*others, *subset]], 6, drawn.n_pre).effect
        assert placebos.effects[k] == pytest.approx(expected, abs=1e-9)


def test_sdid_placebos_keep_the_ridge_of_the_real_fit() -> None:
    import cvxpy

    drawn = factor_panel(np.random.default_rng(4), n_control=9, n_treated=1, n_pre=5, n_post=4)
    fit = fit_panel(drawn.panel(), "sdid")
    settings = dict(fit.fits[0].settings)  # type: ignore[union-attr]
    placebos = placebo_effects(fit, 500, np.random.default_rng(0))
    for k in range(9):
        others = np.delete(drawn.outcome[:9], k, axis=0)
        w, w0 = cvxpy.Variable(8), cvxpy.Variable()
        pre, own = others[:, :5], drawn.outcome[k]
        cost = cvxpy.sum_squares(w0 + pre.T @ w - own[:5]) + settings["zeta"] ** 2 * 5 * cvxpy.sum_squares(w)
        cvxpy.Problem(cvxpy.Minimize(cost), [w >= 0, cvxpy.sum(w) == 1]).solve(solver="CLARABEL")
        v, v0 = cvxpy.Variable(5), cvxpy.Variable()
        ridge = (1e-6 * settings["noise sd"]) ** 2 * 8
        cost = cvxpy.sum_squares(v0 + pre @ v - others[:, 5:].mean(axis=1)) + ridge * cvxpy.sum_squares(v)
        cvxpy.Problem(cvxpy.Minimize(cost), [v >= 0, cvxpy.sum(v) == 1]).solve(solver="CLARABEL")
        gap = own - w.value @ others
        # the default interior point resolves weights to about 1e-5
        assert placebos.effects[k] == pytest.approx(gap[5:].mean() - v.value @ gap[:5], abs=1e-3)


def test_random_subsets_when_there_are_too_many() -> None:
    subsets, enumerated = subsets_of(40, 3, 100, np.random.default_rng(0))
    assert not enumerated
    assert subsets.shape == (100, 3)
    assert all(len(set(subset)) == 3 for subset in subsets.tolist())


def test_placebos_refuse_controls_that_cannot_play_both_roles() -> None:
    drawn = factor_panel(np.random.default_rng(5), n_control=4, n_treated=4)
    with pytest.raises(NotEstimable, match="4 cannot stand in for 4 treated"):
        placebo_effects(fit_panel(drawn.panel(), "did"), 100, np.random.default_rng(0))


def test_masked_placebos_are_those_of_the_weighted_form_where_the_two_agree() -> None:
    drawn = factor_panel(np.random.default_rng(6), n_control=9, n_treated=1)
    did, twfe = (placebo_effects(fit_panel(drawn.panel(), m), 100, np.random.default_rng(0)) for m in ("did", "twfe"))
    np.testing.assert_allclose(did.effects, twfe.effects, atol=1e-10)


def test_staggered_placebos_keep_the_cohorts_sizes_and_starts() -> None:
    rng = np.random.default_rng(7)
    outcome = factor_panel(rng, n_control=30, n_treated=4, n_pre=10, n_post=6).outcome
    start = np.array([99] * 30 + [8, 8, 10, 13])
    panel = panel_of(outcome, np.arange(16) >= start[:, None])
    for method in ("did", "sdid", "twfe"):
        placebos = placebo_effects(fit_panel(panel, method), 60, np.random.default_rng(1))
        assert len(placebos.effects) == 60
        assert not placebos.enumerated
        assert placebos.standard_error > 0


def test_the_standard_errors_of_did_agree_with_its_two_sample_formula() -> None:
    drawn = factor_panel(np.random.default_rng(8), n_control=200, n_treated=60)
    panel = drawn.panel()
    fit = fit_panel(panel, "did")
    formula = did_standard_error(fit_did(drawn.outcome, 200, drawn.n_pre))
    rng = np.random.default_rng(0)
    # 400 resamples of a normal spread: its relative Monte-Carlo error is 1/sqrt(800) = .035
    assert bootstrap_effects(fit, group_codes(panel), 400, rng).std() == pytest.approx(formula, rel=0.12)
    assert jackknife_se(fit, group_codes(panel)) == pytest.approx(formula, rel=0.05)
    assert jackknife_se(fit_panel(panel, "twfe"), group_codes(panel)) == pytest.approx(formula, rel=0.05)
    assert placebo_effects(fit, 400, rng).standard_error == pytest.approx(formula, rel=0.2)


def test_the_bootstrap_does_not_depend_on_the_number_of_processes() -> None:
    drawn = factor_panel(np.random.default_rng(9))
    panel = drawn.panel()
    fit = fit_panel(panel, "sdid")
    one, two = (bootstrap_effects(fit, group_codes(panel), 20, np.random.default_rng(3), jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_clusters_that_err_together_widen_the_bootstrap() -> None:
    rng = np.random.default_rng(10)
    drawn = factor_panel(rng, n_control=60, n_treated=30, rank=0)
    cluster = np.arange(90) // 6
    after = np.arange(17) >= 12
    outcome = drawn.outcome + 2 * rng.normal(size=15)[cluster][:, None] * after
    alone = panel_of(outcome, drawn.treated)
    together = replace(alone, clusters=tuple(f"c{k}" for k in cluster))
    by_unit, by_cluster = (
        bootstrap_effects(fit_panel(p, "did"), group_codes(p), 200, np.random.default_rng(0)).std()
        for p in (alone, together)
    )
    # six units a cluster whose common error dominates: about sqrt(6) = 2.4 times wider
    assert 1.5 < by_cluster / by_unit < 4


def heteroskedastic_rejections(reps: int, seed: int, effect: float) -> dict[str, tuple[float, float]]:
    """Shares of t tests at 5 % that reject without and with an effect on the one treated cell (last unit, period).

    50 units, 50 periods, Y = unit + period + noise, noise sd = exp(.45 a_i) exp(.45 b_t) with a, b normal.
    """
    rng = np.random.default_rng(seed)
    counts: dict[str, list[int]] = {}
    treated = np.zeros((50, 50), dtype=np.bool_)
    treated[-1, -1] = True
    for _ in range(reps):
        scale = np.exp(0.45 * rng.normal(size=(50, 1)) + 0.45 * rng.normal(size=50))
        outcome = rng.normal(size=(50, 1)) + rng.normal(size=50) + scale * rng.normal(size=(50, 50))
        fit = fit_panel(panel_of(outcome, treated), "did")
        variances = conditional_variances(fit, 100, 100, rng)
        for (name, se), freedom in zip(variances.standard_errors().items(), variances.freedom, strict=True):
            bound = student.ppf(0.975, freedom) * se
            null, alternative = counts.setdefault(name, [0, 0])
            counts[name] = [null + (abs(fit.effect) > bound), alternative + (abs(fit.effect + effect) > bound)]
    return {name: (null / reps, alternative / reps) for name, (null, alternative) in counts.items()}


def test_conditioning_on_unit_and_period_finds_more_at_the_same_size() -> None:
    reps = 400
    rates = heteroskedastic_rejections(reps, 0, 3.15)
    # Monte-Carlo standard error of a share: at most .011 for a size of .05, .025 for a power of .6
    size_error = np.sqrt(0.05 * 0.95 / reps)
    for size, _ in rates.values():
        assert 0.03 - 2 * size_error <= size <= 0.08 + 2 * size_error
    assert rates["marginal"][1] == pytest.approx(0.55, abs=0.06)
    assert rates["combined"][1] == pytest.approx(0.75, abs=0.06)
    assert rates["marginal"][1] < min(rates["unit"][1], rates["time"][1])
    assert max(rates["unit"][1], rates["time"][1]) < rates["combined"][1]


def test_conditional_variances_are_the_means_of_squared_placebo_errors() -> None:
    rng = np.random.default_rng(11)
    outcome = rng.normal(size=(6, 8))
    treated = np.zeros((6, 8), dtype=np.bool_)
    treated[-1, -1] = True
    variances = conditional_variances(fit_panel(panel_of(outcome, treated), "did"), 100, 100, rng)

    def error(unit: int, period: int) -> float:
        """DID of one cell of the pre-period against the five controls and the other pre-periods."""
        controls = [k for k in range(5) if k != unit]
        before = [k for k in range(7) if k != period]
        change = outcome[:, period] - outcome[:, before].mean(axis=1)
        return float(change[unit] - change[controls].mean())

    others = np.array([[error(i, t) for t in range(7)] for i in range(5)])
    own = np.array([error(5, t) for t in range(7)])
    same = np.array([error(i, 7) for i in range(5)])
    assert variances.marginal == pytest.approx(np.mean(others**2))
    assert variances.time == pytest.approx(np.mean(own**2))
    assert variances.unit == pytest.approx(np.mean(same**2))
    assert variances.combined == pytest.approx(variances.unit * variances.time / variances.marginal)


def test_masked_conditional_variances_are_close_to_the_weighted_ones_of_did() -> None:
    drawn = factor_panel(np.random.default_rng(12), n_control=12, n_treated=1, n_pre=12, n_post=1)
    did, twfe = (
        conditional_variances(fit_panel(drawn.panel(), m), 100, 100, np.random.default_rng(0)) for m in ("did", "twfe")
    )
    # imputation also learns the placebo's period from the real post-period of the controls: near, not equal
    for name, se in did.standard_errors().items():
        assert twfe.standard_errors()[name] == pytest.approx(se, rel=0.15)


@pytest.mark.parametrize("method", ["did", "twfe"])
def test_conditional_variances_refuse_several_cohorts_and_short_histories(method: str) -> None:
    rng = np.random.default_rng(13)
    outcome = rng.normal(size=(12, 10))
    start = np.array([99] * 9 + [6, 6, 8])
    with pytest.raises(NotEstimable, match="one cohort at a time"):
        conditional_variances(fit_panel(panel_of(outcome, np.arange(10) >= start[:, None]), method), 50, 50, rng)
    short = factor_panel(rng, n_pre=3, n_post=2, n_treated=1)
    with pytest.raises(NotEstimable, match="4 windows within the pre-period"):
        conditional_variances(fit_panel(short.panel(), method), 50, 50, rng)


def test_an_estimate_without_a_valid_error_has_none_and_says_why() -> None:
    drawn = factor_panel(np.random.default_rng(14), n_control=3, n_treated=1)
    answer = estimate_panel(drawn.panel(), "did", "placebo", rng=np.random.default_rng(0))
    assert answer.effect is not None
    assert answer.se is None
    assert answer.as_json()["se"] is None
    assert "placebos need never-treated units" in answer.warnings[-1]


def test_conditional_answers_report_all_four() -> None:
    drawn = factor_panel(np.random.default_rng(15), n_treated=1, n_pre=24, n_post=4)
    answer = estimate_panel(drawn.panel(), "sdid", "conditional", rng=np.random.default_rng(0))
    errors = dict(answer.settings)["conditional_se"]
    assert set(errors) == {"marginal", "unit", "time", "combined"}
    assert answer.se == errors["combined"]
    freedom = dict(answer.settings)["degrees_of_freedom"]["combined"]
    assert answer.ci_high == pytest.approx(answer.effect + student.ppf(0.975, freedom) * answer.se)
