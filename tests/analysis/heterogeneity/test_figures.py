"""The committed figures of influence and synthetic histories are what was promised, and those of the pages."""

import json
from typing import Any

import pytest

from flipside.schemas import ROOT

ANALYST = (ROOT / "docs/heterogeneity.md").read_text("utf-8")
METHODS = (ROOT / "docs/methods/influence.md").read_text("utf-8")


def kept(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text("utf-8"))


def copies() -> list[dict[str, Any]]:
    return [one for one in kept("synthetic_history")["synthetic"] if one["shocks"] == "kept"]


@pytest.mark.parametrize("method", ["did", "cluster-day", "sc", "sdid"])
def test_influence_of_a_thousand_clusters_takes_five_seconds_at_most(method: str) -> None:
    measured = kept("influence")
    assert (measured["clusters"], measured["days"]) == (1000, 365)
    assert measured[method]["seconds"] <= 5.0
    assert f"| {method} | {measured[method]['seconds']:.1f} |" in METHODS


def test_influence_on_the_cluster_day_estimate_is_exact() -> None:
    assert kept("influence")["cluster-day"]["largest_difference"] <= 1e-9


@pytest.mark.parametrize("method", ["sc", "sdid"])
def test_influence_on_weighted_estimates_is_near_fits_anew(method: str) -> None:
    measured = kept("influence")[method]
    assert measured["ten_largest_off_by_at_most"] <= 0.05
    assert measured["rank_correlation_units"] >= 0.99
    assert measured["rank_correlation_periods"] >= 0.99


def test_copies_of_the_orange_juice_lose_two_moments_at_most() -> None:
    for one in copies():
        assert len(one["lost"]) <= 2
        for moment in one["moments"]:
            if not moment["kept"]:
                assert moment["name"] in ANALYST


def test_the_advisor_says_the_same_of_copies_within_monte_carlo_error() -> None:
    measured = kept("synthetic_history")
    assert {one["advice"]["recommended"] for one in copies()} == {measured["source"]["recommended"]}
    for name, found in measured["standard_errors"].items():
        assert abs(found["apart"]) <= 2.0, name
        numbers = [found["source"], found["mean_of_copies"], found["standard_deviation_of_copies"]]
        cells = " | ".join(f"{100 * number:.2f} %" for number in numbers)
        assert f"| {name} | {cells} | {found['apart']:+.1f} |" in METHODS


def test_copies_are_no_nearer_to_the_source_than_its_stores_are_to_each_other() -> None:
    for one in copies():
        for quantile in ("5 %", "median"):
            assert one["closest_of_copies"][quantile] >= one["closest_of_a_held_out_half"][quantile]


def test_a_classifier_of_series_or_of_their_features_hardly_tells_copies_from_the_source() -> None:
    for what in ("whole_series", "features"):
        worst = max(max(one["auc"][what].values()) for one in copies())
        assert worst <= 0.75
        assert f"{worst:.2f}" in ANALYST


def test_what_is_lost_without_the_chains_weeks_stands_on_the_page() -> None:
    (redrawn,) = [one for one in kept("synthetic_history")["synthetic"] if one["shocks"] == "redrawn"]
    ratios = [ratio - 1 for ratio in redrawn["se_ratio"].values()]
    apart = max(redrawn["auc"]["whole_series"].values())
    assert len(redrawn["lost"]) == 6
    words = " ".join(ANALYST.split())
    assert f"standard errors are {100 * min(ratios):.0f} to {100 * max(ratios):.0f} % larger" in words
    assert f"tells copies from the source ({apart:.2f})" in words
