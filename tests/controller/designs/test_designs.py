"""Designs: blocks tile the days, shares are exact, chances are as stated, washouts are where they were announced."""

from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.definition.experiment import Arm, Experiment
from controller.designs import DESIGNS, design_of
from controller.designs.design import Block
from controller.designs.staggered_rollout import entries
from controller.messages.inputs import Blackout, Scope
from controller.randomisation.draw import distance, draw, standardised
from controller.randomisation.hash_scores import coin
from controller.schedule.calendar import calendar, deliver, price_changes, risk_report, weekday_table
from controller.schedule.propensity import is_exact, monte_carlo, pair_probability, propensity
from controller.time.periods import day_start
from tests.controller.builders import START, an_experiment
from tests.controller.designs.specimens import SPECIMENS

SEEDS = 4000


def a_design(name: str, **changes: Any) -> Experiment:
    return an_experiment(**(SPECIMENS[name] | changes))


every_design = pytest.mark.parametrize("name", SPECIMENS)


def days_of(experiment: Experiment) -> list[date]:
    return [experiment.start + timedelta(days=k) for k in range(experiment.days)]


def block(experiment: Experiment, day: int) -> Block:
    found = design_of(experiment).block_on(experiment, START + timedelta(days=day - 1))
    assert found is not None
    return found


def test_there_is_a_specimen_of_every_design() -> None:
    assert {a_design(name).design.kind for name in SPECIMENS} == set(DESIGNS)


@every_design
def test_blocks_tile_the_days_and_nothing_else(name: str) -> None:
    experiment = a_design(name)
    design = design_of(experiment)
    blocks = [design.block_on(experiment, day) for day in days_of(experiment)]
    for day, found in zip(days_of(experiment), blocks, strict=True):
        assert found is not None
        assert found.first <= day < found.end
        assert experiment.start <= found.first < found.end <= experiment.end
    assert design.block_on(experiment, experiment.start - timedelta(days=1)) is None
    assert design.block_on(experiment, experiment.end) is None


@every_design
def test_every_cluster_has_an_arm_and_every_chance_is_a_chance(name: str) -> None:
    experiment = a_design(name)
    for day in days_of(experiment):
        found = design_of(experiment).block_on(experiment, day)
        assert found is not None
        arms = design_of(experiment).arms(experiment, found)
        assert tuple(sorted(arms)) == experiment.cluster_names()
        assert set(arms.values()) <= {0, 1}
        chances = design_of(experiment).propensities(experiment, found)
        assert sum(chances) == pytest.approx(1)


@every_design
def test_the_calendar_is_what_the_design_says_cell_by_cell(name: str) -> None:
    experiment = a_design(name)
    plan, design = calendar(experiment), design_of(experiment)
    for column, day in enumerate(plan.days):
        found = design.block_on(experiment, day)
        assert found is not None
        arms = design.arms(experiment, found)
        for row, cluster in enumerate(plan.clusters):
            assert plan.arms[row, column] == arms[cluster]
            assert plan.washout[row, column] == design.washout(experiment, cluster, day), (cluster, day)


@pytest.mark.parametrize("name", ["random_days", "time_bound", "crossover", "blocked_switchback"])
def test_exactly_half_of_an_even_number_of_clusters_is_treated_in_each_block(name: str) -> None:
    plan = calendar(a_design(name))
    assert (plan.arms.sum(axis=0) == 3).all()


@pytest.mark.parametrize("name", [n for n in SPECIMENS if n != "triggered"])
def test_over_seeds_each_arm_comes_as_often_as_its_stated_chance(name: str) -> None:
    experiment = a_design(name)
    for day in {1, experiment.days // 2, experiment.days}:
        found = block(experiment, day)
        stated = design_of(experiment).propensities(experiment, found)[1]
        counted: Counter[str] = Counter()
        for seed in range(1000):
            counted.update(design_of(experiment).arms(a_design(name, seed=str(seed)), found))
        for cluster in experiment.cluster_names():
            assert abs(counted[cluster] / 1000 - stated) <= 4 * sqrt(stated * (1 - stated) / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random_days", "crossover", "blocked_switchback", "time_bound"])
def test_over_twenty_thousand_seeds_singles_and_pairs_have_their_chances(name: str) -> None:
    experiment, seeds = a_design(name), 20_000
    found = block(experiment, experiment.days)
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for seed in range(seeds):
        arms = design_of(experiment).arms(experiment.model_copy(update={"seed": str(seed)}), found)
        treated = sorted(cluster for cluster, arm in arms.items() if arm)
        singles.update(treated)
        pairs.update(combinations(treated, 2))
    together = float(pair_probability(6, Fraction(1, 2)))
    assert together == pytest.approx(0.2)  # 3/6 x 2/5
    assert all(abs(singles[c] / seeds - 0.5) <= 4 * sqrt(0.25 / seeds) for c in experiment.cluster_names())
    assert len(pairs) == 15
    assert all(abs(times / seeds - together) <= 4 * sqrt(together * (1 - together) / seeds) for times in pairs.values())


def test_a_crossover_swaps_its_halves_and_gives_everyone_control_between_the_phases() -> None:
    plan = calendar(a_design("crossover"))
    assert (plan.arms[:, :7] == plan.arms[:, [0]]).all()
    assert (plan.arms[:, 7:] == 1 - plan.arms[:, [0]]).all()
    assert plan.washout.all(axis=0).tolist() == [True] * 3 + [False] * 4 + [True] * 3 + [False] * 4
    gap = calendar(a_design("crossover with a gap"))
    assert (gap.arms[:, 5:7] == 0).all()
    assert gap.washout.all(axis=0).tolist() == [True] + [False] * 4 + [True] * 3 + [False] * 6


def test_optimal_points_are_the_block_starts() -> None:
    experiment = a_design("blocked_switchback, optimal", days=12)
    starts = {design_of(experiment).block_on(experiment, day) for day in days_of(experiment)}
    assert sorted((b.first - START).days + 1 for b in starts if b) == [1, 5, 7, 9]


def test_without_burn_in_a_day_counts_only_if_its_last_m_days_saw_one_arm() -> None:
    plan = calendar(a_design("blocked_switchback, optimal", days=12))
    for row in range(6):
        for k in range(12):
            one_arm = k >= 2 and len(set(plan.arms[row, k - 2 : k + 1])) == 1
            assert plan.washout[row, k] == (not one_arm)


def test_in_a_staggered_roll_out_planned_shares_enter_and_nobody_leaves() -> None:
    experiment = a_design("staggered_rollout")
    plan = calendar(experiment)
    assert plan.arms.sum(axis=0).tolist() == [0] * 2 + [2] * 3 + [4] * 4 + [5] * 5
    assert (np.diff(plan.arms.astype(int), axis=1) >= 0).all()
    assert Counter(entries(experiment).values()) == {1: 2, 2: 2, 3: 1, 4: 1}


def test_a_roll_out_that_ends_with_everyone_ends_with_everyone() -> None:
    steps = ({"day": 1, "share": "1/2"}, {"day": 8, "share": "1/1"})
    plan = calendar(an_experiment(design={"kind": "staggered_rollout", "steps": steps}))
    assert plan.arms.sum(axis=0).tolist() == [3] * 7 + [6] * 7


def test_with_weekday_balance_each_cluster_has_both_arms_on_as_many_of_each_weekday() -> None:
    plan = calendar(a_design("random_days, weekdays balanced"))
    by_weekday = plan.arms.reshape(6, 4, 7)
    assert (by_weekday.sum(axis=1) == 2).all()
    assert (plan.arms.sum(axis=0) == 3).all()


def test_with_three_arms_weekday_balance_takes_three_weeks() -> None:
    arms = tuple(Arm(name=name) for name in ("control", "less", "least"))
    experiment = an_experiment(
        arms=arms, days=21, design={"kind": "random_days", "weekday_balance": True}, clusters="unit"
    )
    by_weekday = calendar(experiment).arms.reshape(6, 3, 7)
    assert (np.sort(by_weekday, axis=1) == np.arange(3)[:, None]).all()


def test_three_price_levels_with_unequal_shares_are_dealt_exactly() -> None:
    arms = tuple(Arm(name=n, share=s) for n, s in (("control", "1/2"), ("less", "1/3"), ("least", "1/6")))
    plan = calendar(an_experiment(arms=arms))
    assert all(np.bincount(column, minlength=3).tolist() == [3, 2, 1] for column in plan.arms.T)


def test_weekday_table_leaves_washed_out_cells_out() -> None:
    table = weekday_table(calendar(a_design("crossover")), 2)
    # 14 days from a Monday, washout Monday to Wednesday in both weeks
    assert table.tolist() == [[0, 0, 0, 6, 6, 6, 6]] * 2


def test_price_changes_count_the_way_in_and_the_way_back() -> None:
    assert price_changes(np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.int8)).tolist() == [2, 2, 0]


# --- balance ---------------------------------------------------------------------------------------------------------


def test_pairs_by_a_covariate_get_one_arm_each_and_the_whole_is_halved() -> None:
    covariates = {u: (float(k),) for k, u in enumerate(an_experiment(4, 4).units)}
    for seed in range(50):
        experiment = an_experiment(
            4, 4, seed=str(seed), balance={"strata": "covariates", "stratum_size": 2, "covariates": covariates}
        )
        arms = calendar(experiment).arms
        assert (arms.reshape(8, 2, 14).sum(axis=1) == 1).all()


@settings(max_examples=60)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 10**6), st.sampled_from(["1/2", "1/3"]))
def test_each_stratum_and_the_whole_are_within_one_cluster_of_their_shares(
    sizes: list[int], seed: int, treated: str
) -> None:
    units = [f"m{m}/p{p}" for m, size in enumerate(sizes) for p in range(size)]
    if len(units) < 2:
        return
    strata = {f"s{m}": tuple(f"m{m}/p{p}" for p in range(size)) for m, size in enumerate(sizes)}
    share = Fraction(treated)
    arms = (Arm(name="control", share=str(1 - share)), Arm(name="cheap", share=treated))
    experiment = an_experiment(units=tuple(units), arms=arms, seed=str(seed), balance={"strata": strata})
    drawn = draw(experiment, 0, experiment.shares()).arms
    for members in strata.values():
        assert abs(sum(drawn[c] for c in members) - len(members) * share) < 1
    assert abs(sum(drawn.values()) - len(units) * share) < 1


@pytest.mark.parametrize("levels", [2, 3])
def test_in_strata_too_each_arm_has_its_share_over_seeds(levels: int) -> None:
    strata = {"a": ("m0/p0", "m0/p1", "m0/p2"), "b": ("m1/p0", "m1/p1")}
    units = tuple(u for members in strata.values() for u in members)
    arms = tuple(Arm(name=f"a{k}") for k in range(levels))
    counted: Counter[tuple[str, int]] = Counter()
    for seed in range(SEEDS):
        experiment = an_experiment(units=units, arms=arms, seed=str(seed), balance={"strata": strata})
        counted.update(draw(experiment, 0, experiment.shares()).arms.items())
    p = 1 / levels
    assert len(counted) == 5 * levels
    assert all(abs(times / SEEDS - p) <= 4 * sqrt(p * (1 - p) / SEEDS) for times in counted.values())


def with_covariates(max_distance: float | None, **changes: Any) -> Experiment:
    units = an_experiment(2, 4).units
    covariates = {u: (float(k), float(k * k % 5)) for k, u in enumerate(units)}
    balance = {"covariates": covariates, "max_distance": max_distance, **changes.pop("balance", {})}
    return an_experiment(2, 4, balance=balance, **changes)


def test_the_distance_of_two_arms_is_the_mahalanobis_distance_of_morgan_and_rubin() -> None:
    experiment = with_covariates(1.0)
    names = experiment.cluster_names()
    x = np.array([experiment.balance.covariates[c] for c in names])
    arms = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    gap = x[arms == 1].mean(axis=0) - x[arms == 0].mean(axis=0)
    published = 4 * 4 / 8 * gap @ np.linalg.solve(np.cov(x, rowvar=False), gap)
    assert distance(standardised(experiment, names), arms, 2) == pytest.approx(published)


def test_re_randomisation_takes_the_first_draw_that_is_near_enough() -> None:
    experiment = with_covariates(0.5)
    for index in range(20):
        found = draw(experiment, index, experiment.shares())
        assert found.distance is not None
        assert found.distance <= 0.5
        assert sum(found.arms.values()) == 4
    assert any(draw(experiment, index, experiment.shares()).candidate > 0 for index in range(20))


def test_where_no_draw_is_near_enough_the_nearest_is_taken() -> None:
    experiment = with_covariates(1e-9, balance={"max_draws": 25})
    found = draw(experiment, 0, experiment.shares())
    every = [
        draw(with_covariates(1e-9, balance={"max_draws": k}), 0, experiment.shares()).distance for k in range(1, 26)
    ]
    assert found.distance == min(d for d in every if d is not None)


def test_re_randomised_halves_keep_the_exact_chance_of_a_half() -> None:
    experiment = with_covariates(1.0)
    assert is_exact(experiment)
    sampled = monte_carlo(experiment, block(experiment, 1), 2000)
    assert sampled.draws == 2000
    assert all(abs(chance[1] - 0.5) <= 4 * sqrt(0.25 / 2000) for chance in sampled.chances.values())


def test_re_randomised_unequal_shares_have_no_formula_and_say_how_often_they_were_drawn() -> None:
    arms = (Arm(name="control", share="3/4"), Arm(name="cheap", share="1/4"))
    experiment = with_covariates(0.8, arms=arms)
    assert not is_exact(experiment)
    sampled = propensity(experiment, block(experiment, 1), draws=300)
    assert sampled.draws == 300
    assert sum(chance[1] for chance in sampled.chances.values()) == pytest.approx(2.0)


def test_monte_carlo_agrees_with_enumeration_of_all_near_enough_halves() -> None:
    # Four clusters: six halves; the accepted ones are known, and the first accepted draw is uniform among them.
    units = ("m0/p0", "m0/p1", "m1/p0", "m1/p1")
    covariates = {u: (v,) for u, v in zip(units, (0.0, 1.0, 2.0, 9.0), strict=True)}
    arms = (Arm(name="control", share="1/2"), Arm(name="cheap", share="1/2"))
    balance = {"covariates": covariates, "max_distance": 1.5, "max_draws": 100}
    experiment = an_experiment(units=units, arms=arms, balance=balance)
    scores = standardised(experiment, units)
    accepted = [
        treated
        for treated in combinations(range(4), 2)
        if distance(scores, np.array([int(k in treated) for k in range(4)]), 2) <= 1.5
    ]
    assert 0 < len(accepted) < 6
    counted: Counter[tuple[int, ...]] = Counter()
    for seed in range(2000):
        drawn = draw(experiment.model_copy(update={"seed": str(seed)}), 0, experiment.shares()).arms
        counted[tuple(k for k, u in enumerate(units) if drawn[u])] += 1
    assert set(counted) == set(accepted)
    p = 1 / len(accepted)
    assert all(abs(times / 2000 - p) <= 4 * sqrt(p * (1 - p) / 2000) for times in counted.values())


@pytest.mark.parametrize(
    ("clusters", "share", "expected"),
    [(6, Fraction(1, 2), Fraction(1, 5)), (4, Fraction(1, 4), Fraction(0)), (5, Fraction(1, 2), Fraction(1, 5))],
)
def test_pair_probabilities_by_hand(clusters: int, share: Fraction, expected: Fraction) -> None:
    # 5 clusters, halves: two or three treated, half and half: (2 x 1 + 3 x 2) / 2 / (5 x 4) = 1/5
    assert pair_probability(clusters, share) == expected


def test_coins_of_starts_have_their_shares_and_do_not_depend_on_anything_else() -> None:
    shares = (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))
    tossed = Counter(coin(str(seed), "x", "c", 3, shares) for seed in range(SEEDS))
    for arm, share in enumerate(map(float, shares)):
        assert abs(tossed[arm] / SEEDS - share) <= 4 * sqrt(share * (1 - share) / SEEDS)


# --- calendars under blackouts, and risk ------------------------------------------------------------------------------


def test_a_blackout_keeps_the_arm_of_its_cluster_and_says_which_changes_it_forbade() -> None:
    experiment = an_experiment()
    plan = calendar(experiment)
    noon = day_start(START + timedelta(days=3), "America/Chicago")
    window = Blackout(
        id="count", scope=Scope(kind="market", name="m0"), starts_at=noon, ends_at=noon + timedelta(days=3), reason="x"
    )
    after = deliver(experiment, plan, [window])
    assert (after.arms[3:] == plan.arms[3:]).all(), "the other market goes on"
    assert (after.arms[:3, 3:6] == after.arms[:3, [2]]).all()
    assert (after.blocked[:3, 3:6] == (plan.arms[:3, 3:6] != after.arms[:3, 3:6])).all()
    assert not after.blocked[:, :3].any()
    assert (after.arms[:3, 6:] == plan.arms[:3, 6:]).all()


def test_the_risk_of_a_design_is_reported_against_the_best_points() -> None:
    best = risk_report(a_design("blocked_switchback, optimal", days=24))
    assert best is not None
    assert best.risk == pytest.approx(best.optimal_risk)
    daily = risk_report(a_design("random_days"))
    assert daily is not None
    assert daily.risk == pytest.approx(daily.optimal_risk), "without carryover every day is a point"
    assert risk_report(a_design("time_bound")) is None
