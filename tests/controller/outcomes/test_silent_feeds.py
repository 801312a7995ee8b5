"""A feed is silent where a day without a sale is next to impossible, by its own weekdays; arms are never looked at."""

import random
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.outcomes.silent_feeds import (
    ANY_DAYS,
    ENOUGH_DAYS,
    SAME_WEEKDAYS,
    SILENT_BELOW,
    likeness,
    probability_of_none,
    sells_for_certain,
    silent_partitions,
)

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
DAY = timedelta(days=1)


def weeks(*events: int) -> dict[date, int]:
    """So many events on each of the Mondays before, the latest first."""
    return {MONDAY - (k + 1) * WEEK: count for k, count in enumerate(events)}


@pytest.mark.parametrize(("days", "events"), [(1, 0), (3, 0), (8, 0), (8, 77), (8, 78), (3, 31)])
def test_the_chance_of_no_sale_is_that_of_a_gamma_poisson_with_jeffreys_prior(days: int, events: int) -> None:
    """(n/(n+1))^(S + 1/2), whose square is a fraction that can be computed exactly."""
    exact = Fraction(days, days + 1) ** (2 * events + 1)
    assert probability_of_none(days, events) ** 2 == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    ("history", "certain"),
    [
        ({}, None),
        (weeks(100, 100), None),
        # (3/4)^31.5 = 0.00012, (3/4)^32.5 = 0.00009
        (weeks(10, 10, 11), False),
        (weeks(10, 11, 11), True),
        # (8/9)^77.5 = 0.00011, (8/9)^78.5 = 0.0000966
        (weeks(*[10] * 7, 7), False),
        (weeks(*[10] * 7, 8), True),
        # the ninth is not looked at
        (weeks(*[1] * 8, 10_000), False),
        (weeks(0, 0, 0), False),
    ],
)
def test_the_same_weekday_of_up_to_eight_weeks_decides(history: dict[date, int], certain: bool | None) -> None:
    assert sells_for_certain(history, MONDAY) is certain


def test_a_sunday_without_sales_is_judged_by_sundays_and_not_by_busy_mondays() -> None:
    sunday = MONDAY - DAY
    history = {MONDAY - k * DAY: 0 if (MONDAY - k * DAY).weekday() == 6 else 500 for k in range(2, 40)}
    assert sells_for_certain(history, sunday) is False
    assert sells_for_certain(history, MONDAY) is True


def test_where_weekdays_are_few_the_latest_days_of_any_weekday_decide() -> None:
    history = {MONDAY - k * DAY: k for k in range(1, 20)}
    assert likeness(history, MONDAY) == list(range(1, ANY_DAYS + 1))
    assert likeness({day: n for day, n in history.items() if day > MONDAY - 3 * DAY}, MONDAY) is None
    assert likeness({day: n for day, n in history.items() if day > MONDAY - 4 * DAY}, MONDAY) == [1, 2, 3]
    assert ENOUGH_DAYS < SAME_WEEKDAYS


def test_days_that_come_later_judge_nothing() -> None:
    assert likeness({MONDAY + k * DAY: 9 for k in range(30)}, MONDAY) is None


def test_a_market_that_cannot_be_judged_and_sold_nothing_is_silent_a_partition_that_cannot_be_judged_is_not() -> None:
    assert silent_partitions({}, MONDAY, {}, {0, 1}) == {0, 1}
    assert silent_partitions({}, MONDAY, {0: 3}, {0, 1}) == frozenset()


def test_a_partition_that_sells_for_certain_is_silent_while_its_market_lives() -> None:
    history = {MONDAY - (k + 1) * WEEK: {0: 20, 1: 20, 2: 1} for k in range(8)}
    assert silent_partitions(history, MONDAY, {0: 3}, {0, 1, 2}) == {1}
    assert silent_partitions(history, MONDAY, {}, {0, 1, 2}) == {0, 1, 2}, "the market as a whole sells for certain"


def test_a_market_that_often_sells_nothing_has_zeros_on_such_a_day() -> None:
    history = {MONDAY - (k + 1) * WEEK: {0: 1, 1: 0} for k in range(8)}
    assert silent_partitions(history, MONDAY, {}, {0, 1}) == frozenset()


def test_days_on_which_a_partition_was_silent_or_closed_are_no_history_of_it() -> None:
    """They are absent: were they zeros, an outage would make the next one look normal."""
    history = {MONDAY - (k + 1) * WEEK: ({0: 20, 1: 20} if k >= 4 else {0: 20}) for k in range(8)}
    assert silent_partitions(history, MONDAY, {0: 1}, {0, 1}) == {1}
    as_zeros = {day: {0: 20, 1: events.get(1, 0)} for day, events in history.items()}
    assert likeness({day: events[1] for day, events in as_zeros.items()}, MONDAY) == [0, 0, 0, 0, 20, 20, 20, 20]


@given(
    st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 60), max_size=4), max_size=30),
    st.dictionaries(st.integers(0, 3), st.integers(1, 5), max_size=4),
    st.permutations(range(4)),
    st.integers(0, 2**16),
)
def test_renaming_partitions_and_reordering_history_change_nothing(
    past: list[dict[int, int]], events: dict[int, int], names: list[int], seed: int
) -> None:
    """What is silent depends on counts by partition alone: who is in which arm is no argument of it."""
    history = {MONDAY - (k + 1) * DAY: found for k, found in enumerate(past)}
    shuffled = list(history)
    random.Random(seed).shuffle(shuffled)
    renamed = {day: {names[p]: n for p, n in history[day].items()} for day in shuffled}
    found = silent_partitions(history, MONDAY, events, range(4))
    assert silent_partitions(renamed, MONDAY, {names[p]: n for p, n in events.items()}, range(4)) == {
        names[p] for p in found
    }


@given(st.integers(1, 60), st.integers(0, 1000), st.integers(1, 1000))
def test_who_sold_more_is_silent_at_least_as_soon(days: int, events: int, more: int) -> None:
    assert probability_of_none(days, events + more) < probability_of_none(days, events) < 1
    assert SILENT_BELOW == 1e-4
