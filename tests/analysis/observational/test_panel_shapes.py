"""Missing cells, staggered adoption, switchbacks: each method agrees with brute force, or refuses with its reason."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.observational.cohorts import check_panel, cohorts_of
from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.observational.estimators.twfe import fit_twfe, leave_unit_out
from analysis.observational.panel_fit import fit_panel
from analysis.panel_data.panel import BoolArray, FloatArray, Panel
from controller.errors import InvalidPanel, NotEstimable
from tests.analysis.panels import factor_panel, panel_of

WEIGHTED = tuple(name for name, estimator in ESTIMATORS.items() if isinstance(estimator, WeightedEstimator))


def dummies_oracle(outcome: FloatArray, usable: BoolArray, treated: BoolArray, weights: FloatArray) -> float:
    """Two-way fixed effects by one dummy column for each unit and period."""
    n_units, n_periods = outcome.shape
    rows = [(i, t) for i in range(n_units) for t in range(n_periods) if usable[i, t] and not treated[i, t]]
    design = np.zeros((len(rows), n_units + n_periods))
    for k, (i, t) in enumerate(rows):
        design[k, i] = design[k, n_units + t] = 1.0
    root = np.sqrt([weights[cell] for cell in rows])
    beta = np.linalg.lstsq(design * root[:, None], root * [outcome[cell] for cell in rows], rcond=None)[0]
    cells = np.argwhere(usable & treated)
    return float(np.mean([outcome[i, t] - beta[i] - beta[n_units + t] for i, t in cells]))


def switchback(rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    drawn = factor_panel(rng, n_control=8, n_treated=8, n_pre=9, n_post=9)
    blocks = rng.random((16, 6)) < 0.5
    blocks[:, 1] = ~blocks[:, 0]  # both arms in every unit
    return drawn.outcome, np.repeat(blocks, 3, axis=1)


def staggered(rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    outcome = factor_panel(rng, n_control=14, n_treated=5, n_pre=10, n_post=6).outcome
    start = np.array([99] * 14 + [8, 8, 10, 10, 13])
    return outcome, np.arange(16) >= start[:, None]


@pytest.mark.parametrize("pattern", [switchback, staggered])
@pytest.mark.parametrize("seed", range(3))
def test_imputation_is_the_dummy_regression_on_any_pattern_with_missing_cells(pattern: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcome, treated = pattern(rng)  # type: ignore[operator]
    usable = rng.random(outcome.shape) < 0.85
    weights = rng.uniform(0.5, 2.0, outcome.shape)
    holed = np.where(usable, outcome, np.nan)
    plain, weighted = fit_twfe(holed, usable, treated), fit_twfe(holed, usable, treated, weights)
    assert plain.effect == pytest.approx(dummies_oracle(outcome, usable, treated, np.ones(outcome.shape)), abs=1e-9)
    assert weighted.effect == pytest.approx(dummies_oracle(outcome, usable, treated, weights), abs=1e-9)
    assert max(gap for _, gap in plain.certificates) < 1e-9


def test_with_effects_that_grow_imputation_is_exact_where_plain_two_way_fixed_effects_are_far_off() -> None:
    """Units enter one after the other, and the effect grows by one a period: early cohorts are no controls."""
    start = np.array([3, 3, 6, 6, 9, 9, 99])
    since = np.arange(12) - start[:, None]
    treated = since >= 0
    effects = np.where(treated, since + 1.0, 0.0)
    outcome = np.arange(7.0)[:, None] + np.sin(np.arange(12.0)) + effects
    truth = effects[treated].mean()
    assert fit_twfe(outcome, np.ones(treated.shape, bool), treated).effect == pytest.approx(truth, abs=1e-9)
    unit, period = np.eye(7).repeat(12, axis=0), np.tile(np.eye(12), (7, 1))
    columns = np.hstack([unit, period, treated.reshape(-1, 1).astype(float)])
    plain = np.linalg.lstsq(columns, outcome.ravel(), rcond=None)[0][-1]
    assert plain < 0.6 * truth


def test_the_effect_without_each_unit_is_the_refit_without_it() -> None:
    rng = np.random.default_rng(4)
    outcome, treated = switchback(rng)
    usable = rng.random(outcome.shape) < 0.9
    without = leave_unit_out(np.where(usable, outcome, np.nan), usable, treated)
    for i in range(len(outcome)):
        kept = np.arange(len(outcome)) != i
        assert without[i] == pytest.approx(fit_twfe(outcome[kept], usable[kept], treated[kept]).effect, abs=1e-9)


def test_what_lies_in_left_out_cells_does_not_matter_to_imputation() -> None:
    rng = np.random.default_rng(5)
    outcome, treated = switchback(rng)
    washout = rng.random(outcome.shape) < 0.2
    panel = panel_of(outcome, treated, left_out=(("washout", washout),))
    spoilt = replace(panel, outcome=np.where(washout, 1e6, outcome))
    assert fit_panel(spoilt, "twfe").effect == fit_panel(panel, "twfe").effect


def test_imputation_refuses_a_treated_cell_that_no_chain_of_controls_reaches() -> None:
    # two islands: units 0-1 live in periods 0-1, units 2-3 in periods 2-4; unit 0 is treated in period 2
    usable = np.zeros((4, 5), dtype=np.bool_)
    usable[:2, :2] = usable[2:, 2:] = usable[0, 2] = True
    treated = np.zeros((4, 5), dtype=np.bool_)
    treated[0, 2] = True
    with pytest.raises(NotEstimable, match=r"row 1, period 3 has no counterfactual"):
        fit_twfe(np.random.default_rng(0).normal(size=(4, 5)), usable, treated)


@pytest.mark.parametrize("method", WEIGHTED)
def test_a_staggered_panel_is_its_cohorts_weighted_by_treated_cells(method: str) -> None:
    outcome, treated = staggered(np.random.default_rng(6))
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    total, cells = 0.0, 0
    for start, rows in ((8, [14, 15]), (10, [16, 17]), (13, [18])):
        block = np.vstack([outcome[:14], outcome[rows]])
        n_cells = len(rows) * (16 - start)
        total += n_cells * estimator.fit(block, 14, start).effect
        cells += n_cells
    shuffled = np.random.default_rng(1).permutation(19)
    fit = fit_panel(panel_of(outcome[shuffled], treated[shuffled]), method)
    assert fit.effect == pytest.approx(total / cells, abs=1e-8)


@pytest.mark.parametrize("method", WEIGHTED)
def test_weighted_methods_refuse_a_switchback_and_name_the_way_out(method: str) -> None:
    outcome, treated = staggered(np.random.default_rng(7))
    treated[15, 12:] = False
    with pytest.raises(NotEstimable, match=r"unit u15 goes back to control after 011.*twfe, mc or trop"):
        fit_panel(panel_of(outcome, treated), method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_weighted_methods_refuse_missing_cells_and_name_the_first(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(8))
    drawn.outcome[3, 5] = np.nan
    with pytest.raises(NotEstimable, match=r"1 cell\(s\) of 1 unit\(s\).*u3 in 005 \(missing\)"):
        fit_panel(drawn.panel(), method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_a_washout_of_all_units_is_dropped_and_said(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(9), n_pre=12, n_post=5)
    washout = np.zeros(drawn.outcome.shape, dtype=np.bool_)
    washout[:, 12:14] = True
    panel = replace(drawn.panel(), left_out=(("washout", washout),))
    kept = np.delete(drawn.outcome, [12, 13], axis=1)
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    fit = fit_panel(panel, method)
    assert fit.effect == pytest.approx(estimator.fit(kept, drawn.n_control, 12).effect, abs=1e-10)
    assert cohorts_of(panel).notes == ("2 period(s) without a usable cell are dropped, from 012 to 013",)


def always_treated(panel: Panel) -> Panel:
    arm = panel.arm.copy()
    arm[-1] = 1
    return replace(panel, arm=arm)


def without_outcomes(panel: Panel) -> Panel:
    outcome = panel.outcome.copy()
    outcome[2] = np.nan
    return replace(panel, outcome=outcome)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (always_treated, r"unit u23 \(row 24\) is treated from the first period"),
        (without_outcomes, r"unit u2 \(row 3\) has no outcome in any period"),
        (lambda p: replace(p, outcome=np.full_like(p.outcome, 4.0)), "outcome is 4 in every usable cell"),
        (lambda p: replace(p, arm=np.zeros_like(p.arm)), "no usable cell is treated"),
        (lambda p: replace(p, arm=np.ones_like(p.arm)), "every usable cell is treated"),
        (lambda p: replace(p, arm=np.full_like(p.arm, -1)), "no cell of the panel is usable"),
    ],
)
def test_what_no_method_can_use_is_refused_with_row_and_rule(spoil: object, message: str) -> None:
    panel = factor_panel(np.random.default_rng(10)).panel()
    check_panel(panel)
    with pytest.raises(InvalidPanel, match=message):
        check_panel(spoil(panel))  # type: ignore[operator]


@pytest.mark.parametrize("method", WEIGHTED)
def test_one_pre_period_is_refused(method: str) -> None:
    drawn = factor_panel(np.random.default_rng(11), n_pre=1)
    with pytest.raises(NotEstimable, match=r"1 pre-period\(s\) before 001.*two at least"):
        fit_panel(drawn.panel(), method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_no_unit_that_is_never_treated_is_refused(method: str) -> None:
    outcome, treated = staggered(np.random.default_rng(12))
    treated[:14] = treated[18]
    with pytest.raises(NotEstimable, match="no unit is never treated"):
        fit_panel(panel_of(outcome, treated), method)


def test_outcomes_that_do_not_change_before_the_treatment_leave_sdid_without_a_noise_level() -> None:
    outcome = np.arange(10.0)[:, None] + np.zeros((10, 8))
    outcome[:, 5:] += np.arange(10.0)[:, None]
    treated = np.zeros((10, 8), dtype=np.bool_)
    treated[8:, 5:] = True
    with pytest.raises(NotEstimable, match="do not change before the treatment"):
        fit_panel(panel_of(outcome, treated), "sdid")
    # controls change by 0..7, the treated by 8 and 9
    assert fit_panel(panel_of(outcome, treated), "did").effect == pytest.approx(5.0)


def test_a_panel_names_the_label_that_stands_twice_and_the_value_out_of_range() -> None:
    panel = factor_panel(np.random.default_rng(13)).panel()
    with pytest.raises(InvalidPanel, match="unit u0 stands in the panel twice"):
        replace(panel, units=("u0", *panel.units[:-1]))
    with pytest.raises(InvalidPanel, match=r"arm of u0 in 000 is 5: arms are -1 to 1"):
        replace(panel, arm=np.full_like(panel.arm, 5))
    with pytest.raises(InvalidPanel, match=r"outcome of u0 in 000 is inf"):
        replace(panel, outcome=np.full_like(panel.outcome, np.inf))
