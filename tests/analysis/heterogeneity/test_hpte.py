"""Who responds: known effects are found in both designs, what is cut is far out, bad input is refused by name."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.heterogeneity.differences import kept
from analysis.heterogeneity.forecasts import forecast
from analysis.heterogeneity.forests.trees import leaf_of
from analysis.heterogeneity.hpte_result import Hpte
from analysis.heterogeneity.unit_effects import hpte
from controller.errors import InvalidPanel, NotEstimable

UNITS, BEFORE, AFTER = 80, 28, 14
NAMES = [f"u{k:03d}" for k in range(UNITS)]


def panel(crossover: bool, seed: int = 0) -> tuple[Any, Any]:
    """The effect is 1 in one category and 0 in the other; noise of .2, a weekday pattern, a shock to each day."""
    rng = np.random.default_rng(seed)
    category = np.arange(UNITS) % 2
    length = BEFORE + AFTER
    treated = np.zeros((UNITS, length), np.int64)
    if crossover:
        treated[:, BEFORE:] = rng.random((UNITS, AFTER)) < 0.5
    else:
        treated[rng.permutation(UNITS)[: UNITS // 2], BEFORE:] = 1
    day = np.arange(length)
    level, shock = rng.normal(0, 1, UNITS), rng.normal(0, 0.3, length)
    outcome = level[:, None] + 0.5 * (day % 7 == 5) + shock + treated * category[:, None]
    outcome += rng.normal(0, 0.2, (UNITS, length))
    labels = pd.date_range("2026-01-01", periods=length).strftime("%Y-%m-%d")
    frame = pd.DataFrame(
        {
            "unit": np.repeat(NAMES, length),
            "time": np.tile(labels, UNITS),
            "outcome": outcome.ravel(),
            "treatment": treated.ravel(),
        }
    )
    known = {"unit": NAMES, "category": np.where(category, "toys", "food"), "size": rng.random(UNITS)}
    return frame, pd.DataFrame(known)


def found_in(crossover: bool) -> Hpte:
    return hpte(*panel(crossover), forecaster="shrunk", noise="scores", trees=200, seed=3)


@pytest.fixture(scope="module", params=[False, True], ids=["parallel", "crossover"])
def found(request: pytest.FixtureRequest) -> Hpte:
    return found_in(request.param)


def test_the_average_and_both_categories_are_found(found: Hpte) -> None:
    assert found.average.line.low < 0.5 < found.average.line.high
    assert abs(found.average.cross_check.value - 0.5) < 0.1
    levels = {one.level: one for one in found.levels}
    # Cutting what is far from the arm's median moves both a little towards it.
    assert levels["toys"].effect == pytest.approx(1, abs=0.15)
    assert levels["food"].effect == pytest.approx(0, abs=0.15)
    assert levels["food"].high < levels["toys"].low


def test_units_of_the_category_that_responds_are_told_from_the_others(found: Hpte) -> None:
    toys = np.arange(UNITS) % 2 == 1
    effect = found.unit_frame["effect"].to_numpy()
    assert effect[toys].mean() > 0.7
    assert effect[~toys].mean() < 0.3
    assert found.importance[0][0] == "category"
    assert found.calibration is not None
    assert found.calibration.p < 0.01


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert found_in(True).as_json() == found_in(True).as_json()


@pytest.mark.slow
def test_refits_and_scores_agree_on_the_noise_of_the_average() -> None:
    frame, known = panel(True)
    refits = hpte(frame, known, forecaster="shrunk", noise="refits", trees=100, seed=3).average.line
    scores = hpte(frame, known, forecaster="shrunk", noise="scores", trees=100, seed=3).average.line
    assert refits.error == pytest.approx(scores.error, rel=0.25)


def test_units_intervals_hold_the_noise_that_the_bootstrap_finds_beyond_the_scores(found: Hpte) -> None:
    assert found.average.line.error**2 >= found.average.shared_noise >= 0
    width = (found.unit_frame["high"] - found.unit_frame["low"]).to_numpy()
    assert (width >= 2 * 1.95 * np.sqrt(found.average.shared_noise)).all()


def test_what_is_cut_lies_far_from_its_own_arm_and_not_from_the_other() -> None:
    value = np.r_[np.linspace(-1, 1, 30), 9.0, np.linspace(9, 11, 30)]
    treated = np.r_[np.zeros(31, bool), np.ones(30, bool)]
    inside = kept(value, treated, np.arange(61), crossover=False)
    assert not inside[30], "a control at the other arm's level is far from its own"
    assert inside[~treated].sum() + inside[treated].sum() >= 61 - 0.05 * 61 - 1


def test_a_crossover_unit_stays_or_goes_with_both_of_its_rows() -> None:
    unit = np.r_[np.arange(60), np.arange(60)]
    value = np.random.default_rng(0).normal(size=120)
    value[7] = 50.0
    inside = kept(value, np.arange(120) < 60, unit, crossover=True)
    assert not inside[7]
    assert not inside[67]
    assert (inside[:60] == inside[60:]).all()


def test_a_unit_without_noise_is_forecast_exactly() -> None:
    day = np.arange(56)
    each = np.array([[3.0, 0.1], [5.0, -0.2], [1.0, 0.0]])
    weekly = np.array([0, 1, 0, 0, 2, 5, 0.0])
    whole = each[:, :1] + each[:, 1:] * 0 + weekly[day % 7]
    made = forecast(whole[:, :42], day % 7, np.array([0, 0, 0]), 14, "shrunk", 0)
    assert made.values == pytest.approx(whole[:, 42:], abs=1e-6)


def test_affinity_weights_are_those_of_shared_leaves_by_brute_force() -> None:
    from analysis.heterogeneity.forests.forest import causal_forest

    rng = np.random.default_rng(1)
    x = rng.random((120, 2))
    treated = rng.random(120) < 0.5
    y = treated * (x[:, 0] > 0.5) + rng.normal(0, 0.3, 120)
    forest = causal_forest(x, treated, y, trees=100, centring="none", seed=1, keep_members=True)
    fast = forest.arm_differences(x, treated, np.empty((0, 2)))
    member, value = forest._members
    feature, cut, child, moments = forest._trees
    for i in (0, 17, 63):
        weight = np.zeros(120)
        for t in range(100):
            if forest._in_bag[t // forest._per_bag, i]:
                continue
            leaf = [leaf_of(forest._bins, j, feature[t], cut[t], child[t], moments[t]) for j in range(120)]
            likes = [j for j in range(120) if member[t, j] and leaf[j] == leaf[i]]
            for j in likes:
                weight[j] += 1 / len(likes)
        high, low = weight * treated, weight * ~treated
        effect = high @ value[0] / high.sum() - low @ value[0] / low.sum()
        sizes = [part.sum() ** 2 / (part**2).sum() for part in (high, low)]
        assert fast[i] == pytest.approx([effect, *sizes], rel=1e-9)


def without(attributes: Any, frame: Any) -> tuple[Any, Any]:
    return frame, attributes.iloc[5:]


def constant(attributes: Any, frame: Any) -> tuple[Any, Any]:
    return frame, attributes.assign(category="all", size=1.0)


def many_levels(attributes: Any, frame: Any) -> tuple[Any, Any]:
    return frame, attributes.assign(brand=[f"b{k}" for k in range(UNITS)])


def late(attributes: Any, frame: Any) -> tuple[Any, Any]:
    return frame, attributes.assign(measured_at="2026-02-01")


def short(attributes: Any, frame: Any) -> tuple[Any, Any]:
    return frame[frame["time"] >= "2026-01-27"], attributes


def few(attributes: Any, frame: Any) -> tuple[Any, Any]:
    number = frame["unit"].str[1:].astype(int)
    return frame.assign(cluster=(number // 20).astype(str)), attributes


BAD = {
    without: (InvalidPanel, "5 of 80 units lack attributes, u000 the first.*--drop-incomplete"),
    constant: (NotEstimable, "no attribute differs between units.*average effect can still"),
    many_levels: (NotEstimable, "attribute brand has 80 values.*group them"),
    late: (InvalidPanel, "measured at 2026-02-01.*outcome.*before the start"),
    short: (NotEstimable, "2 periods before the first treated one, at least 4.*add earlier periods"),
    few: (NotEstimable, "4 clusters.*below 6.*average effect can still"),
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_told_is_refused_with_what_still_can(spoil: Any) -> None:
    frame, known = panel(False)
    spoiled, attributes = spoil(known, frame)
    kind, words = BAD[spoil]
    cluster = "cluster" if "cluster" in spoiled.columns else None
    with pytest.raises(kind, match=words):
        hpte(spoiled, attributes, forecaster="shrunk", noise="scores", cluster=cluster)


def test_a_category_with_one_product_and_a_constant_attribute_are_named_in_the_notes() -> None:
    frame, known = panel(False)
    known.loc[0, "category"] = "books"
    result = hpte(frame, known.assign(shop="one"), forecaster="shrunk", noise="scores", trees=100)
    assert any("1 value(s) of category have one unit" in note for note in result.notes)
    assert any("attribute shop is the same for all units" in note for note in result.notes)


def test_units_without_attributes_are_left_out_where_asked() -> None:
    frame, known = panel(False)
    result = hpte(frame, known.iloc[5:], forecaster="shrunk", noise="scores", trees=100, drop_incomplete=True)
    assert len(result.units) == UNITS - 5
    assert any("5 unit(s) lack attributes" in note for note in result.notes)
