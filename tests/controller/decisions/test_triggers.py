"""Triggers: rules fire on the edge, and a difference between arms in how often they do is told."""

from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decisions.triggers import (
    RivalHistory,
    TriggerRate,
    observe,
    quorum_reached,
    reaction_p_value,
    reaction_warning,
)
from controller.definition.parameters import (
    OutOfStock,
    PriceDrop,
    PriceRise,
    PriceStays,
    Triggered,
    TriggerRule,
    Undercut,
)
from tests.controller.decisions.triggered import NOON, a_price

DROP = PriceDrop(kind="price_drop", share="1/10", within_hours=24)


def fires(rule: TriggerRule, prices: Sequence[tuple[float, int | None]], list_price: int = 300) -> list[float]:
    """The hours at which a rule fires along a path of prices."""
    history, found = RivalHistory(), []
    for hours, price in prices:
        history, now = observe(rule, history, a_price(hours, price), list_price)
        found += [hours] if now else []
    return found


@pytest.mark.parametrize(
    ("rule", "prices", "expected"),
    [
        (DROP, [(0, 300), (1, 271), (2, 270), (3, 270), (4, 200)], [2]),
        (DROP, [(0, 300), (25, 290), (50, 270)], []),  # 270 <= 270? no: within a day only 290 was in force
        (DROP, [(0, 300), (30, 270)], [30]),  # 300 was in force until the drop
        (DROP, [(0, 300), (1, 270), (2, 300), (3, 270)], [1, 3]),
        (DROP, [(0, 300), (1, None), (2, 260)], [2]),
        (DROP, [(0, 100)], []),
        (PriceRise(kind="price_rise", share="1/10"), [(0, 300), (1, 329), (2, 330), (3, 340)], [2]),
        (Undercut(kind="undercut"), [(0, 290), (1, 280), (2, 300), (3, 299), (4, 298)], [3]),
        (OutOfStock(kind="out_of_stock"), [(0, None), (1, 300), (2, None), (3, None), (4, 310), (5, None)], [2, 5]),
        (PriceStays(kind="price_stays", for_hours=6), [(0, 300), (5, 300), (6, 300), (9, 300), (10, 290), (16, 290)],
         [6, 16]),
    ],
)  # fmt: skip
def test_a_rule_fires_on_the_edge(
    rule: TriggerRule, prices: list[tuple[float, int | None]], expected: list[float]
) -> None:
    assert fires(rule, prices) == expected


def test_a_duplicate_and_a_straggler_fire_nothing_and_are_not_kept() -> None:
    history, _ = observe(DROP, RivalHistory(), a_price(0, 300), 300)
    history, fires_now = observe(DROP, history, a_price(5, 250, "drop"), 300)
    assert fires_now
    for late in (a_price(5, 250, "drop"), a_price(2, 100, "late")):
        assert observe(DROP, history, late, 300) == (history, False)


@given(st.lists(st.tuples(st.integers(0, 200), st.none() | st.integers(80, 120)), max_size=30))
def test_memory_of_a_rival_reaches_no_farther_back_than_the_rule_looks(path: list[tuple[int, int | None]]) -> None:
    history = RivalHistory()
    for hours, price in sorted(path, key=lambda step: step[0]):
        history, _ = observe(DROP, history, a_price(hours, price), 300)
        since = NOON + timedelta(hours=hours - 24)
        assert sum(seen.at < since for seen in history.observations) <= 1


def test_a_quorum_is_a_share_of_the_clusters_units_within_a_day() -> None:
    design = Triggered(kind="triggered", rule=DROP, per="cluster", quorum="1/2", treatment_days=3)
    at = {"m0/p0": NOON, "m0/p1": NOON - timedelta(hours=30), "m0/p2": NOON - timedelta(hours=3)}
    assert not quorum_reached(design, at, 5, NOON)
    assert quorum_reached(design, at, 4, NOON)
    assert quorum_reached(design.model_copy(update={"per": "unit"}), at, 99, NOON)


# --- does a rival react to us? ---------------------------------------------------------------------------------------


def test_equal_rates_are_no_surprise_and_unequal_ones_are_told_to_the_owner() -> None:
    # 10 coins, all heads: 2 / 2^10
    assert reaction_p_value(TriggerRate("control", 0, 100), TriggerRate("cheap", 10, 100)) == pytest.approx(2 / 1024)
    assert reaction_p_value(TriggerRate("control", 5, 100), TriggerRate("cheap", 5, 100)) == 1.0
    assert reaction_p_value(TriggerRate("control", 0, 0), TriggerRate("cheap", 5, 100)) == 1.0
    assert reaction_warning(TriggerRate("control", 5, 100), TriggerRate("cheap", 6, 100)) is None
    said = reaction_warning(TriggerRate("control", 2, 100), TriggerRate("cheap", 30, 110))
    assert said is not None
    assert "30 triggers in 110 cluster-days with cheap" in said


def test_the_reaction_test_keeps_its_level() -> None:
    chance = np.random.default_rng(5)
    looks = 4000
    alarms = sum(
        reaction_p_value(TriggerRate("c", int(a), 100), TriggerRate("t", int(b), 100)) < 0.05
        for a, b in chance.poisson(12, (looks, 2))
    )
    # exact tests are conservative: at most 5 %, Monte-Carlo standard error .34 %
    assert alarms / looks <= 0.05 + 4 * (0.05 * 0.95 / looks) ** 0.5
    assert Fraction(alarms, looks) > 0
