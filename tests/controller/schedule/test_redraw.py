"""Redraws: the production draw in arrays, bit for bit where it is fed with the hashes, and its distribution."""

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.parameters import Balance, BlockedSwitchback, RandomDays, TimeBound
from controller.randomisation.hash_scores import deal, score
from controller.schedule.calendar import calendar
from controller.schedule.redraw import arms_of, deal_all, layout_of, redraws
from tests.controller.builders import an_experiment


def arms(*shares: str | None) -> tuple[Arm, ...]:
    cheaper = (
        Arm(name=f"a{k}", price=PriceRule(percent=Decimal(-10 * k)), share=share)
        for k, share in enumerate(shares[1:], 1)
    )
    return (Arm(name="control", share=shares[0]), *cheaper)


ARMS, THIRDS, SKEWED = arms(None, None, None), arms("1/2", "1/3", "1/6"), arms("7/10", "3/10")
PLANS: dict[str, dict[str, Any]] = {
    "random days": {},
    "unequal shares": {"arms": SKEWED},
    "three arms": {"arms": ARMS},
    "three arms of unequal shares": {"arms": THIRDS},
    "weekday balance": {"design": RandomDays(weekday_balance=True), "days": 28},
    "weekday balance of three arms": {
        "design": RandomDays(weekday_balance=True),
        "days": 42,
        "arms": ARMS,
    },
    "blocks": {"design": BlockedSwitchback(kind="blocked_switchback", block_days=3), "days": 10},
    "one draw": {"design": TimeBound(kind="time_bound"), "days": 5},
}


def hashed(experiment: Experiment, seeds: list[str]) -> np.ndarray:
    """Schedules by the array form, fed with production's own scores."""
    layout = layout_of(experiment)
    assert layout is not None
    name, levels = experiment.name, len(experiment.arms)

    def scores(*names: str | int) -> np.ndarray:
        return np.array([[score(seed, name, draw, *names) for draw in layout.draws] for seed in seeds], np.uint64)

    clusters = np.stack([scores(cluster) for cluster in experiment.cluster_names()], axis=2)
    turns = np.stack([scores("turn", k) for k in range(levels)], axis=2)
    return arms_of(layout, clusters, scores(), turns, experiment.shares())


@pytest.mark.parametrize("plan", PLANS)
def test_fed_with_the_hashes_the_array_form_is_the_production_draw_bit_for_bit(plan: str) -> None:
    seeds = [f"s{k}" for k in range(20)]
    experiment = an_experiment(**PLANS[plan])
    wanted = [calendar(experiment.model_copy(update={"seed": seed})).arms for seed in seeds]
    assert np.array_equal(hashed(experiment, seeds), np.stack(wanted))


@given(
    st.lists(st.text("abc01", min_size=1, max_size=4), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.text("xyz", max_size=5),
)
def test_any_block_is_dealt_alike(names: list[str], weights: list[int], seed: str) -> None:
    shares = tuple(Fraction(weight, sum(weights)) for weight in weights)
    clusters = sorted(names)
    scores = np.array([[score(seed, "x", 4, cluster) for cluster in clusters]], np.uint64)
    dealt = deal_all(scores, np.array([score(seed, "x", 4)], np.uint64), shares)[0]
    assert dict(zip(clusters, dealt.tolist(), strict=True)) == deal(seed, "x", 4, clusters, shares)


@pytest.mark.parametrize(("clusters", "levels"), [(4, 2), (5, 2), (5, 3)])
def test_over_every_order_of_the_scores_each_way_to_deal_comes_equally_often(clusters: int, levels: int) -> None:
    """Independent uniform scores come in every order equally often, and the fraction left over is uniform."""
    shares = (Fraction(1, levels),) * levels
    orders = np.array(list(permutations(range(clusters))), np.uint64)
    found = Counter[tuple[int, ...]]()
    for start in range(levels):  # in the middle of each range in which the counts are the same
        starts = np.full(len(orders), (2 * start + 1) * 2**64 // (2 * levels), np.uint64)
        found.update(map(tuple, deal_all(orders, starts, shares).tolist()))
    by_cluster = [Counter(row[k] for row in found.elements()) for k in range(clusters)]
    assert all(set(counts.values()) == {len(orders)} for counts in by_cluster)
    alike: dict[tuple[int, ...], set[int]] = {}
    for row, times in found.items():
        alike.setdefault(tuple(sorted(row)), set()).add(times)
    assert all(len(times) == 1 for times in alike.values())


def test_ties_are_broken_by_the_names_as_in_production() -> None:
    scores = np.array([[5, 1, 5, 5], [7, 7, 7, 7]], np.uint64)
    dealt = deal_all(scores, np.zeros(2, np.uint64), (Fraction(1, 2), Fraction(1, 2)))
    assert dealt.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize("plan", PLANS)
def test_redraws_keep_the_design_and_come_as_often_as_production_draws(plan: str) -> None:
    experiment, count = an_experiment(**PLANS[plan]), 2000
    drawn = redraws(experiment, count, "key")
    one = calendar(experiment).arms
    assert drawn.shape == (count, *one.shape)
    assert drawn.dtype == np.int8
    assert len({schedule.tobytes() for schedule in drawn[:50]}) > 1
    for arm, share in enumerate(experiment.shares()):
        error = sqrt(float(share) * (1 - float(share)) / count)
        assert np.abs((drawn == arm).mean(axis=0) - float(share)).max() < 5 * error
        whole = float(share) * len(one)
        assert np.abs((drawn == arm).sum(axis=1) - whole).max() < 1


def test_redraws_depend_on_their_key_alone() -> None:
    experiment = an_experiment()
    assert np.array_equal(redraws(experiment, 30, "a"), redraws(experiment, 30, "a"))
    assert not np.array_equal(redraws(experiment, 30, "a"), redraws(experiment, 30, "b"))
    other = experiment.model_copy(update={"seed": "another"})
    assert np.array_equal(redraws(experiment, 30, "a"), redraws(other, 30, "a"))


def test_a_design_with_strata_is_redrawn_one_by_one() -> None:
    names = an_experiment().cluster_names()
    half = len(names) // 2
    experiment = an_experiment(balance=Balance(strata={"s": names[:half], "t": names[half:]}))
    assert layout_of(experiment) is None
    drawn = redraws(experiment, 5, "key")
    assert drawn.shape == (5, *calendar(experiment).arms.shape)
