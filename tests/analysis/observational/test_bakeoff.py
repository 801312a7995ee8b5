"""The bake-off: placebos look like the real block, never touch it, and rank methods as the truth would."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.observational.bakeoff import _draw, _hide, assignment_odds, bakeoff
from analysis.observational.inference.placebo import controls_only
from analysis.observational.panel_fit import never_treated_rows, treated_rows
from controller.errors import InvalidPanel, NotEstimable
from tests.analysis.panels import factor_panel, panel_of

FAST = ("did", "twfe", "sc", "difp", "sdid")


def test_placebos_are_as_many_units_as_long_and_distinct() -> None:
    panel = factor_panel(np.random.default_rng(0), n_control=15, n_treated=2, n_pre=12, n_post=5).panel()
    treated, never = treated_rows(panel), never_treated_rows(panel)
    placebos = _draw(panel, treated, never, 150, np.random.default_rng(1))
    assert len({(one.rows, one.shift) for one in placebos}) == 150
    controls = replace(controls_only(panel, never), arm=np.zeros((15, 17), dtype=np.int64))
    for one in placebos[:30]:
        hidden, stress = _hide(controls, panel.treated[treated], one)
        assert set(hidden.units) == set(panel.units[:15])  # the real treated units take no part
        assert hidden.treated.any(axis=1).sum() == 2
        assert hidden.treated.any(axis=0).sum() == 5
        assert hidden.treated[:, -1].sum() == 2  # the block ends where the panel ends, as the real one does
        assert stress[hidden.treated].mean() == pytest.approx(0, abs=1e-12)
        assert stress[hidden.treated].std() > 0
        assert not stress[~hidden.treated].any()
        assert len(hidden.periods) - 5 >= 6  # half of the real pre-period at least


def test_few_possible_placebos_are_all_used_and_no_more() -> None:
    panel = factor_panel(np.random.default_rng(2), n_control=6, n_treated=1, n_pre=4, n_post=2).panel()
    report = bakeoff(panel, rng=np.random.default_rng(0), methods=("did",), ses=("placebo",), n_placebos=200)
    assert report.n_placebos == 6


def test_units_like_the_treated_are_preferred_as_placebos() -> None:
    rng = np.random.default_rng(3)
    outcome = rng.normal(size=(40, 12)) + np.linspace(-6, 6, 40)[:, None]
    treated = np.zeros((40, 12), dtype=np.bool_)
    treated[-6:, 8:] = True
    panel = panel_of(outcome, treated)
    odds = assignment_odds(panel, treated_rows(panel), never_treated_rows(panel), 8)
    assert odds[-5:].mean() > 3 * odds[:5].mean()


def test_the_better_method_wins_where_trends_differ_and_the_tie_is_said_where_they_do_not() -> None:
    rng = np.random.default_rng(4)
    drifting = factor_panel(rng, n_control=30, n_treated=1, n_pre=16, n_post=4, rank=2)
    report = bakeoff(drifting.panel(), rng=np.random.default_rng(0), methods=FAST, ses=(), n_placebos=60)
    rmse = {score.method: score.rmse.value for score in report.scores}
    assert rmse["sdid"] < 0.8 * rmse["did"]
    assert report.scores[0].method != "did"
    assert report.scores[0].method in report.recommendation
    assert rmse["twfe"] == pytest.approx(rmse["did"], rel=1e-6)
    parallel = factor_panel(rng, n_control=30, n_treated=1, n_pre=16, n_post=4, rank=0)
    tied = bakeoff(parallel.panel(), rng=np.random.default_rng(0), methods=FAST, ses=(), n_placebos=60)
    assert {score.method for score in tied.scores if score.as_good_as_best} >= {"did", "twfe"}


def test_masking_and_weighting_methods_do_not_feel_uneven_effects() -> None:
    drawn = factor_panel(np.random.default_rng(5), n_control=20, n_treated=2)
    report = bakeoff(drawn.panel(), rng=np.random.default_rng(0), methods=FAST, ses=(), n_placebos=20)
    for score in report.scores:
        assert score.stress_rmse.value == pytest.approx(score.rmse.value, rel=1e-6)


@pytest.mark.slow
def test_a_form_that_assumes_one_effect_is_caught_by_uneven_ones() -> None:
    drawn = factor_panel(np.random.default_rng(6), n_control=9, n_treated=2, n_pre=8, n_post=5)
    report = bakeoff(
        drawn.panel(), rng=np.random.default_rng(0), methods=("homogeneous-effect", "trop-block"), ses=(), n_placebos=20
    )
    stress = {score.method: score.stress_rmse.value / score.rmse.value for score in report.scores}
    assert stress["trop-block"] == pytest.approx(1, rel=1e-3)
    assert stress["homogeneous-effect"] > 1.2


def test_intervals_of_independent_noise_hold_the_truth_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(7)
    drawn = factor_panel(rng, n_control=40, n_treated=3, rank=0)
    report = bakeoff(drawn.panel(), rng=np.random.default_rng(0), methods=("did",), n_placebos=150)
    scores = {one.kind: one for one in report.scores[0].standard_errors}
    assert set(scores) == {"placebo", "jackknife", "bootstrap", "conditional"}
    for one in scores.values():
        assert one.n == 150
        assert one.width.value > 0
    assert scores["placebo"].coverage.value > 0.85


def test_kinds_of_error_that_are_refused_are_named_with_their_reason() -> None:
    drawn = factor_panel(np.random.default_rng(8), n_control=12, n_treated=1)
    report = bakeoff(drawn.panel(), rng=np.random.default_rng(0), methods=("did",), n_placebos=20)
    refused = dict(report.scores[0].refused)
    assert set(refused) == {"jackknife", "bootstrap"}
    assert "one treated unit" in refused["jackknife"]


def test_the_report_does_not_depend_on_the_number_of_processes() -> None:
    drawn = factor_panel(np.random.default_rng(9), n_control=10, n_treated=1)
    one, two = (
        bakeoff(drawn.panel(), rng=np.random.default_rng(0), methods=("did", "sdid"), n_placebos=20, jobs=jobs)
        for jobs in (1, 2)
    )
    assert one.as_json() == two.as_json()


def test_a_switchback_or_too_few_controls_are_refused_with_the_reason() -> None:
    drawn = factor_panel(np.random.default_rng(10), n_control=4, n_treated=3)
    with pytest.raises(NotEstimable, match="leave three controls"):
        bakeoff(drawn.panel(), rng=np.random.default_rng(0))
    with pytest.raises(InvalidPanel, match="method is magic"):
        bakeoff(factor_panel(np.random.default_rng(11)).panel(), rng=np.random.default_rng(0), methods=("magic",))
