"""The committed results of simulations, and the page that has their figures."""

import re
from typing import Literal

import pytest

from benchmarks.heterogeneity.figures_page import PAGE, kept, written
from benchmarks.heterogeneity.forest import measured, ours
from benchmarks.heterogeneity.forest_designs import draw
from benchmarks.heterogeneity.hpte import one as one_panel


def test_the_page_has_the_figures_of_the_committed_results() -> None:
    assert PAGE.read_text("utf-8") == written()


@pytest.mark.parametrize("units", [50, 200, 1000])
def test_the_averages_interval_covers(units: int) -> None:
    found = kept(f"hpte_{units}")["summary"]
    error = found["covers_monte_carlo_error"]
    assert error <= 0.01
    assert 0.93 - error <= found["covers"] <= 0.97 + error
    assert found["rmse"] < min(found["rmse_category_means"], found["rmse_raw_forest"])


def test_trimming_costs_no_bias_and_a_third_of_the_error_is_gone() -> None:
    found = kept("trimming_50")
    assert abs(found["bias"]) < 0.03
    assert found["ratio"] <= 0.7


def test_scores_say_what_refits_say() -> None:
    found = kept("hpte_200_refits")["summary"]
    assert found["beside_error"] == pytest.approx(found["error"], rel=0.1)


def test_the_planted_group_is_found_and_nothing_without_one() -> None:
    found = kept("groups")["own differences"]
    assert (found["draws"], found["draws_without"]) == (200, 400)
    assert found["found_with_the_right_sign"] >= 0.9
    assert found["any_named_without"] <= 0.05


#: RMSE as a share of grf's, at most
WORST = {("ours, centring auto", "nie_wager_b"): 0.6, ("ours, centring auto", "nie_wager_d"): 0.65}


@pytest.mark.parametrize(("rows", "draws", "plain", "chosen"), [(10_000, 10, 4, 2), (100_000, 3, 10, 5)])
def test_the_forest_beside_grf(rows: int, draws: int, plain: float, chosen: float) -> None:
    for method, most, faster in (("none", 1.03, plain), ("auto", 1.0, chosen)):
        name = f"ours, centring {method}"
        found = [one for one in kept(f"forest_{rows}")["summary"] if one["method"] == name]
        assert len(found) == 6
        for one in found:
            assert one["draws"] >= draws
            assert one["rmse_to_grf"] <= WORST.get((name, one["design"]), most), one
            assert one["times_as_fast_cpu"] >= faster, one


def test_intervals_of_the_chosen_forest_cover_or_are_said_not_to_hold() -> None:
    rows = [one for one in kept("forest_10000")["summary"] if one["method"] == "ours, centring auto"]
    for one in rows:
        assert one["coverage"] >= 0.92 or one["said_not_to_hold"] == one["draws"], one


def test_the_analysts_page_has_the_figures_too() -> None:
    page = " ".join((PAGE.parents[1] / "heterogeneity.md").read_text("utf-8").split())
    few, more = kept("hpte_50")["summary"], kept("hpte_200")["summary"]
    assert f"covered {few['covers']:.1%} at 50 units and {more['covers']:.1%} at 200".replace("%", " %") in page
    for one in (few, more):
        assert f"{one['unit_coverage']:.1%}".replace("%", " %") in page
    for name in ("rmse", "rmse_category_means", "rmse_raw_forest"):
        assert re.search(f"{few[name]:.3f}( at 50 units)? and {more[name]:.3f}", page)


def test_a_committed_panel_is_what_the_present_code_finds() -> None:
    before = next(one for one in kept("hpte_200")["draws"] if one["seed"] == 0)
    now = one_panel(200, 0, "scores", "shrunk", None)
    for name in ("average", "error", "cross_check", "rmse", "unit_error"):
        assert now[name] == pytest.approx(before[name], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("centring", ["none", "auto"])
def test_a_committed_draw_of_the_forest_is_what_the_present_code_finds(centring: Literal["none", "auto"]) -> None:
    method = f"ours, centring {centring}"
    rows = kept("forest_10000")["draws"]
    before = next(one for one in rows if (one["design"], one["method"], one["seed"]) == ("two_steps", method, 0))
    now = measured(ours(centring), draw("two_steps", 10_000, 0), 0)
    assert now["rmse"] == pytest.approx(before["rmse"], rel=1e-4)
    assert now["coverage"] == pytest.approx(before["coverage"], abs=0.002)
