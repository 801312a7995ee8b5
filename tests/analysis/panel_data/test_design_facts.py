"""Every design whose calendar is known beforehand: no bias over its draws, intervals that cover, reasons for gaps."""

from datetime import timedelta
from itertools import combinations, pairwise, product
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from analysis.panel_data.design_facts import NO_PRE_PERIOD, method_of
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.panel_data.study import PRE_PERIOD_DAYS
from analysis.randomised.cluster_day import ClusterDayDifference, cluster_day_difference
from analysis.worker.analyse import due
from benchmarks.randomised.worlds import interval
from benchmarks.replays.replay_designs import DESIGNS, as_mapping, definition, fast
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.designs import design_of
from controller.errors import NotEstimable
from controller.messages.events import OBSERVATIONAL, Estimate
from controller.schedule.calendar import calendar
from flipside.sales_history.history import read_history
from flipside.simulated_shop.demand import made_up_history
from tests.analysis.traffic import START, assignment, closing, experiment, history, unit_day

DAY = timedelta(days=1)
#: sums of a few hundred terms of order one
MACHINE = 1e-12


def design(kind: str, **more: object) -> dict[str, object]:
    return {"kind": kind, **more}


def halves(clusters: int) -> list[BoolArray]:
    return [np.isin(np.arange(clusters), chosen) for chosen in combinations(range(clusters), clusters // 2)]


def estimated(base: FloatArray, effect: FloatArray, arm: IntArray, definition: Experiment, before: int,
              ) -> ClusterDayDifference:  # fmt: skip
    """The estimate on outcomes under arms (days of the experiment, G); the pre-period is at control."""
    method = method_of(definition)
    held = np.where(method.washout(definition, arm), -1, arm)
    draws = method.draws(definition, len(arm))
    draws = np.vstack([np.zeros((before, draws.shape[1]), dtype=bool), draws])
    treated = np.vstack([np.zeros((before, arm.shape[1]), dtype=bool), arm == 1])
    outcome = base + np.where(treated, effect, 0.0)
    outcome[before:][held < 0] = np.nan
    return cluster_day_difference(outcome, treated, np.arange(arm.shape[1]), draws=draws)


def world(days: int, clusters: int = 4, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Any outcomes, and effects that differ between cells."""
    rng = np.random.default_rng(seed)
    return rng.lognormal(0, 1, (days, clusters)), rng.normal(-0.3, 0.4, (days, clusters))


def test_over_every_draw_a_time_bound_estimate_is_the_mean_effect_after_the_washout() -> None:
    plan = experiment(days=4, design=design("time_bound", washout_days=1), carryover_order=1)
    base, effect = world(7)
    found = [estimated(base, effect, np.tile(half, (4, 1)).astype(int), plan, 3) for half in halves(4)]
    assert np.mean([one.absolute.value for one in found]) == pytest.approx(effect[4:].mean(), abs=MACHINE)
    assert {one.cells for one in found} == {12}


def test_over_every_draw_a_crossover_estimate_is_the_mean_effect_of_both_phases() -> None:
    plan = experiment(days=6, design=design("crossover", washout_days=1), carryover_order=1)
    base, effect = world(8)
    arms = [np.vstack([np.tile(half, (3, 1)), np.tile(~half, (3, 1))]).astype(int) for half in halves(4)]
    found = [estimated(base, effect, arm, plan, 2) for arm in arms]
    wanted = effect[2:][[1, 2, 4, 5]].mean()
    assert np.mean([one.absolute.value for one in found]) == pytest.approx(wanted, abs=MACHINE)


@pytest.mark.parametrize("days", [6, 7])
def test_each_half_of_a_crossover_has_a_mean_of_its_own_so_that_t_has_at_most_g_minus_2_degrees(days: int) -> None:
    # One number a cluster: what its treated days gained since the pre-period, less what its control days gained. Welch.
    plan = experiment(markets=8, days=days, design=design("crossover", washout_days=0))
    base, _ = world(days + 4, clusters=8)
    for half in halves(8)[:20]:
        arm = np.vstack([np.tile(half, (days // 2, 1)), np.tile(~half, (days - days // 2, 1))]).astype(int)
        found = estimated(base, np.zeros_like(base), arm, plan, 4)
        gain = base[4:] - base[:4].mean(axis=0)
        change = (gain * np.where(arm == 1, 1.0, -1.0)).sum(axis=0) / days
        parts = np.array([change[half].var(ddof=1), change[~half].var(ddof=1)]) / 4
        assert found.absolute.se == pytest.approx(parts.sum() ** 0.5, rel=1e-9)
        welch = parts.sum() ** 2 / (parts**2 / 3).sum()
        assert welch <= 6
        spread = (interval(found.absolute)[1] - found.absolute.value) / found.absolute.se
        assert spread == pytest.approx(t.ppf(0.975, welch), rel=1e-9)


def test_over_every_draw_a_staggered_estimate_is_the_mean_effect_against_those_not_yet_treated() -> None:
    steps = ({"day": 2, "share": "1/3"}, {"day": 4, "share": "2/3"})
    plan = experiment(markets=6, days=5, design=design("staggered_rollout", steps=steps))
    base, effect = world(7, clusters=6)
    found = []
    for entered in {tuple(order) for order in permutations_of((1, 1, 3, 3, 9, 9))}:
        arm = (np.arange(5)[:, np.newaxis] >= np.array(entered)).astype(int)
        found.append(estimated(base, effect, arm, plan, 2))
    assert len(found) == factorial(6) // 8
    assert np.mean([one.absolute.value for one in found]) == pytest.approx(effect[3:].mean(), abs=MACHINE)


def permutations_of(entries: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Distinct orders."""
    if not entries:
        return {()}
    found = set()
    for value in set(entries):
        rest = list(entries)
        rest.remove(value)
        found |= {(value, *other) for other in permutations_of(tuple(rest))}
    return found


def test_over_every_path_blocks_with_a_burn_in_give_the_mean_effect_of_the_days_after_it() -> None:
    plan = experiment(days=6, design=design("blocked_switchback", block_days=3, burn_in_days=1), carryover_order=1)
    base, effect = world(6)
    paths = [np.repeat(np.array(path), 3, axis=0).astype(int) for path in product(halves(4), repeat=2)]
    found = [estimated(base, effect, path, plan, 0) for path in paths]
    assert np.mean([one.absolute.value for one in found]) == pytest.approx(effect[[1, 2, 4, 5]].mean(), abs=MACHINE)


def test_a_forecast_from_days_of_the_same_block_would_be_biased() -> None:
    base, effect = world(6)
    paths = [np.repeat(np.array(path), 3, axis=0) for path in product(halves(4), repeat=2)]
    alone = [cluster_day_difference(base + np.where(path, effect, 0.0), path, np.arange(4)) for path in paths]
    assert abs(np.mean([one.absolute.value for one in alone]) - effect.mean()) > 1e-2


def test_held_windows_forecast_from_days_whose_windows_share_no_block() -> None:
    plan = experiment(markets=6, days=12, design=design("blocked_switchback", points="optimal"), carryover_order=2)
    draws = method_of(plan).draws(plan, 12)
    # blocks begin on days 1, 5, 7 and 9; a window of two days before reaches back into the block before
    assert [np.flatnonzero(row).tolist() for row in draws] == [
        [0], [0], [0], [0], [0, 1], [0, 1], [1, 2], [1, 2], [2, 3], [2, 3], [3], [3]
    ]  # fmt: skip


def test_weeks_that_complete_each_other_share_their_draw() -> None:
    plan = experiment(days=28, design=design("random_days", weekday_balance=True))
    shared = method_of(plan).draws(plan, 28)
    assert [int(column.sum()) for column in shared.T] == [2] * 14
    assert all(np.array_equal(shared[k], shared[k + 7]) for k in (*range(7), *range(14, 21)))


@pytest.mark.parametrize("name", list(DESIGNS))
def test_washout_read_from_the_arms_is_the_washout_of_the_design(name: str) -> None:
    market = made_up_history(8, 1, 28, np.random.default_rng(1))
    body = definition(market, name, "s").model_copy(update={"days": 28, "balance": experiment().balance})
    plan = calendar(body)
    found = method_of(body).washout(body, plan.arms.T.astype(np.int64))
    wanted = [[design_of(body).washout(body, c, day) for c in plan.clusters] for day in plan.days]
    assert np.array_equal(found, wanted)
    assert np.array_equal(found, plan.washout.T)


# --- through the ledger -----------------------------------------------------------------------------------------------


def estimates_of(messages: list[Message]) -> list[Estimate]:
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    found = [e for e in due(ledger, {}) if isinstance(e, Estimate) and e.metric == "units"]
    return [e for e in found if e.estimator != OBSERVATIONAL]


def sold_before(plan: Experiment, days: int) -> list[Message]:
    markets = {unit.partition("/")[0]: 0 for unit in plan.units}
    found: list[Message] = []
    for back in range(1, days + 1):
        found += [unit_day(plan, u, START - back * DAY, 10 + k + back % 3) for k, u in enumerate(plan.units)]
        found += [closing(plan, market, START - back * DAY) for market in markets]
    return found


TIME_BOUND = experiment(markets=6, days=4, design=design("time_bound", washout_days=1), carryover_order=1)


def test_a_design_that_does_not_switch_is_measured_against_its_pre_period() -> None:
    last = estimates_of([*history(TIME_BOUND), *sold_before(TIME_BOUND, 5)])[-1]
    assert last.estimator == "pre_period_difference"
    assert last.absolute is not None
    assert (last.cells, last.left_out, last.days) == (36, {"washout": 12, "pre_period": 60}, 3)


def test_without_a_pre_period_it_is_absent_and_says_why() -> None:
    last = estimates_of(history(TIME_BOUND))[-1]
    assert (last.absolute, last.relative, last.reason_absent) == (None, None, NO_PRE_PERIOD)


def test_days_on_which_another_experiment_held_a_unit_are_no_pre_period_but_days_after_its_release_are() -> None:
    other = experiment(markets=6, name="other", start=START - 5 * DAY, days=3)
    unit = TIME_BOUND.units[0]
    elsewhere = [assignment(other, unit, START - back * DAY, "low") for back in (5, 4, 3)]
    elsewhere.append(assignment(other, unit, START - 2 * DAY, "control", "released", expires_at=None))
    last = estimates_of([*history(TIME_BOUND), *sold_before(TIME_BOUND, 5), *elsewhere])[-1]
    assert last.left_out == {"washout": 12, "pre_period": 57, "other_experiment": 3}


def test_no_more_than_eight_weeks_before_the_start_are_kept() -> None:
    last = estimates_of([*history(TIME_BOUND), *sold_before(TIME_BOUND, PRE_PERIOD_DAYS + 9)])[-1]
    assert last.left_out["pre_period"] == 12 * PRE_PERIOD_DAYS


def test_days_before_the_first_step_of_a_roll_out_are_as_good_as_a_pre_period() -> None:
    steps = ({"day": 3, "share": "1/2"},)
    last = estimates_of(history(experiment(markets=6, days=6, design=design("staggered_rollout", steps=steps))))[-1]
    assert last.absolute is not None
    assert last.days == 4


def test_one_draw_of_three_clusters_has_a_reason_and_no_number() -> None:
    plan = experiment(markets=3, days=4, design=design("time_bound"))
    last = estimates_of([*history(plan), *sold_before(plan, 3)])[-1]
    assert last.reason_absent is not None
    assert last.reason_absent.startswith("one draw of fewer than 4 clusters")


def test_a_triggered_experiment_that_nobody_has_entered_has_a_reason_and_no_number() -> None:
    plan = experiment(days=4, design=design("triggered", rule={"kind": "undercut"}, treatment_days=2))
    last = estimates_of(history(plan))[-1]
    assert last.estimator == "event_time_difference"
    assert last.absolute is None
    assert last.reason_absent is not None
    assert last.reason_absent.startswith("0 entries with the arm and 0 with control are over")


# --- coverage ---------------------------------------------------------------------------------------------------------

#: chance of fewer than 30 of 40 where 95 % cover: 2e-5
SEEDS, FEWEST = 40, 30


@pytest.mark.parametrize("name", ["blocked_switchback, held windows", "crossover", "staggered_rollout", "time_bound"])
def test_intervals_cover_the_planted_effect_in_a_made_up_market(name: str) -> None:
    (row,) = fast(made_up_history(24, 2, 40, np.random.default_rng(5)), [name], SEEDS, -0.10)
    assert row.covered >= FEWEST
    assert row.spread < 1.5 * row.median_se


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.shared_data
def test_on_real_sales_95_per_cent_intervals_cover_within_monte_carlo_error(shared_data: Path) -> None:
    sales = read_history(shared_data / "orange_juice").first(40)
    rows = as_mapping(list(fast(sales, list(DESIGNS), 200, -0.10)))
    # 200 seeds: four Monte-Carlo errors below 95 % are 89 %
    assert {name: row.covered for name, row in rows.items() if row.covered < 178} == {}


def test_forecasts_of_one_draw_come_from_the_pre_period_alone() -> None:
    base, _ = world(6)
    arm = np.tile(halves(4)[0], (3, 1)).astype(int)
    plan = experiment(days=3, design=design("time_bound"))
    found = estimated(base, np.zeros_like(base), arm, plan, 3)
    change = base[3:].mean(axis=0) - base[:3].mean(axis=0)
    assert found.absolute.value == pytest.approx(change[arm[0] == 1].mean() - change[arm[0] == 0].mean(), abs=MACHINE)
    spread = sum(change[arm[0] == k].var(ddof=1) / 2 for k in (0, 1))
    assert found.absolute.se == pytest.approx(spread**0.5, rel=1e-9)


def test_a_single_draw_of_few_clusters_raises() -> None:
    outcome, treated = np.random.default_rng(1).random((5, 3)), np.tile([True, False, False], (5, 1))
    with pytest.raises(NotEstimable, match="one draw of fewer than 4"):
        cluster_day_difference(outcome, treated, np.arange(3), draws=np.arange(5)[:, np.newaxis] >= 2)


def test_neighbouring_blocks_are_one_group_only_where_their_windows_touch() -> None:
    burnt = experiment(days=6, design=design("blocked_switchback", block_days=2, burn_in_days=1), carryover_order=1)
    draws = method_of(burnt).draws(burnt, 6)
    assert [int(a @ b) for a, b in pairwise(draws.astype(int))] == [1, 0, 1, 0, 1]
