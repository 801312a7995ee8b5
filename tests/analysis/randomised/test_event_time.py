"""Entries that come one by one: the difference between arms on their own clocks has no bias and an honest error."""

from datetime import date, timedelta
from itertools import product

import numpy as np
import pytest

from analysis.panel_data.study import State, UnitDays
from analysis.randomised.event_time import Clock, additive_forecast, event_time_difference
from analysis.randomised.triggered_entries import difference_by_entry
from benchmarks.randomised.worlds import interval
from controller.designs.entries import Entry
from controller.errors import NotEstimable
from controller.time.periods import day_start
from tests.controller.decisions.triggered import triggered

#: rows of the pre-period, then of the experiment
BEFORE, DAYS = 4, 12


def world(units: int, seed: int) -> np.ndarray:
    """(T, U) what everybody would sell at control: levels, shocks of days, noise."""
    chance = np.random.default_rng(seed)
    levels, shocks = chance.lognormal(3, 0.5, units), chance.lognormal(0, 0.2, BEFORE + DAYS)
    return levels * shocks[:, None] * chance.lognormal(0, 0.1, (BEFORE + DAYS, units))


def clocks(arms: tuple[int, ...]) -> list[Clock]:
    """One entry of each of the first clusters, a day apart, four days long, the first washed out."""
    return [Clock(k, arm, BEFORE + k, BEFORE + k + 1, BEFORE + k + 4) for k, arm in enumerate(arms)]


def seen(control: np.ndarray, entries: list[Clock], effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes under the entries' arms, and who is free when."""
    outcome, free = control.copy(), np.ones(control.shape, dtype=bool)
    for entry in entries:
        days = slice(entry.first, entry.end)
        free[days, entry.cluster] = False
        outcome[days, entry.cluster] += entry.arm * effects[entry.cluster]
    return outcome, free


def test_over_all_falls_of_the_coins_the_estimate_is_the_effect_and_its_variance_is_not_too_small() -> None:
    control, entered = world(9, 1), 6
    effects = np.array([3.0, -2.0, 5.0, 1.0, 0.0, 4.0, 9.0, 9.0, 9.0])
    found, variances = [], []
    for arms in product((0, 1), repeat=entered):
        if not 2 <= sum(arms) <= entered - 2:
            continue
        entries = clocks(arms)
        outcome, free = seen(control, entries, effects)
        number = event_time_difference(outcome, free, np.arange(9), entries, 1)
        found.append((sum(arms), number.absolute.value))
        variances.append((sum(arms), number.absolute.se**2))
    # Given how many coins fell on treatment, every choice of entries is as likely as another.
    for treated in range(2, entered - 1):
        values = np.array([value for number, value in found if number == treated])
        assert values.mean() == pytest.approx(effects[:entered].mean(), abs=1e-9)
        assert np.mean([v for number, v in variances if number == treated]) >= values.var()


def test_levels_of_units_and_shocks_of_days_drop_out() -> None:
    control, arms = world(8, 2), (0, 1, 0, 1, 1, 0)
    entries = clocks(arms)
    shift, shock = np.arange(8.0) * 100, np.random.default_rng(3).normal(0, 50, (BEFORE + DAYS, 1))
    plain, free = seen(control, entries, np.full(8, 2.0))
    one = event_time_difference(plain, free, np.arange(8), entries, 1).absolute
    two = event_time_difference(plain + shift + shock, free, np.arange(8), entries, 1).absolute
    assert (two.value, two.se) == pytest.approx((one.value, one.se))


def test_the_forecast_is_least_squares_on_the_free_cells() -> None:
    outcome, free = world(5, 9), np.random.default_rng(9).random((BEFORE + DAYS, 5)) < 0.7
    rows, columns = np.nonzero(free)
    design = np.zeros((len(rows), BEFORE + DAYS + 5))
    design[np.arange(len(rows)), rows] = design[np.arange(len(rows)), BEFORE + DAYS + columns] = 1.0
    solved = np.linalg.lstsq(design, outcome[free], rcond=None)[0]
    expected = solved[: BEFORE + DAYS, None] + solved[BEFORE + DAYS :]
    assert additive_forecast(outcome, free) == pytest.approx(expected)


def test_a_constant_multiple_has_that_relative_effect() -> None:
    control, arms = np.tile(np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]), (BEFORE + DAYS, 1)), (0, 1, 0, 1)
    control += np.random.default_rng(5).normal(0, 0.01, control.shape)
    entries = clocks(arms)
    outcome, free = seen(control, entries, 0.2 * np.array([10.0, 20, 30, 40, 50, 60]))
    relative = event_time_difference(outcome, free, np.arange(6), entries, 1).relative
    assert relative is not None
    # treated levels are 20 and 40, all entered ones average 25: 0.2 * 30 / 25
    assert relative.value == pytest.approx(0.24, abs=0.01)


def test_intervals_cover_at_their_rate() -> None:
    covered, runs = 0, 400
    for seed in range(runs):
        chance = np.random.default_rng(1000 + seed)
        entries = clocks(tuple(int(a) for a in chance.integers(0, 2, 8)))
        if not 2 <= sum(e.arm for e in entries) <= 6:
            covered += 1
            continue
        outcome, free = seen(world(12, seed), entries, np.full(12, 4.0))
        number = event_time_difference(outcome, free, np.arange(12), entries, 1).absolute
        low, high = interval(number)
        covered += low <= 4.0 <= high
    # 95 %; four standard errors of 400 draws are 4.4 points
    assert covered / runs >= 0.906


def test_too_few_entries_have_a_reason() -> None:
    outcome, free = seen(world(5, 1), clocks((0, 1, 0)), np.zeros(5))
    with pytest.raises(NotEstimable, match="1 entries with the arm and 2 with control"):
        event_time_difference(outcome, free, np.arange(5), clocks((0, 1, 0)), 1)


# --- from the log to the estimator ------------------------------------------------------------------------------------


def entry(cluster: str, arm: int, first: date, days: int = 4, ordinal: int = 0) -> Entry:
    starts = day_start(first, "America/Chicago")
    return Entry(
        cluster, cluster[:2], ordinal, arm, f"t/{cluster}/{ordinal}", starts, starts, first, first + timedelta(days)
    )


def test_only_entries_that_are_over_count_and_only_days_on_which_their_arm_was_shown() -> None:
    experiment = triggered(design={"washout_days": 1, "treatment_days": 4})
    names = experiment.cluster_names()
    entries = [entry(name, k % 2, experiment.start + timedelta(days=k)) for k, name in enumerate(names[:9])]
    state = np.vstack([np.full((BEFORE, 10), State.PRE_PERIOD), np.zeros((DAYS, 10), dtype=np.int64)])
    for k, one in enumerate(entries):
        state[BEFORE + k : BEFORE + k + 4, k] = one.arm
    state[BEFORE + 3, 2] = State.BLACKOUT  # a day of the third entry
    sales = world(10, 7)
    sold = sales.astype(np.int64)
    days = UnitDays(
        first_day=experiment.start - timedelta(days=BEFORE),
        before=BEFORE,
        cluster=np.arange(10),
        state=state.astype(np.int8),
        assigned=state.astype(np.int8),
        observed=np.ones(state.shape, dtype=bool),
        quantity=sold,
        revenue=sold,
        cost=sold,
        unseen=np.zeros(state.shape, dtype=np.int8),
        events=np.ones(state.shape, dtype=np.int16),
        late=np.zeros(state.shape, dtype=np.int16),
        corrected=np.zeros(state.shape, dtype=np.bool_),
        live=state.astype(np.int8),
        out_of_stock=np.zeros(state.shape, dtype=np.int8),
        stale_hours=np.zeros(state.shape, dtype=np.float32),
    )
    usable = np.where(state == State.BLACKOUT, np.nan, sales)
    found = difference_by_entry(experiment, entries, days, usable, 1, 0.95)
    # The ninth entry lasts until day 12 and counts; each has three clean days, one of which was in a blackout.
    assert (found.clusters, found.cells) == (9, 9 * 3 - 1)
    late = [*entries, entry(names[9], 1, experiment.start + timedelta(days=9))]
    assert difference_by_entry(experiment, late, days, usable, 1, 0.95).clusters == 9
