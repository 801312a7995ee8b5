"""Randomisation points: published numbers, a risk by counting coins, and every set of points of small designs."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.randomisation.randomisation_points import block_lengths, optimal_points, risk, search


def risk_by_counting(points: tuple[int, ...], days: int, m: int) -> float:
    """The formula with windows written out as sets of coins: slow and plain."""
    coin = {t: max(p for p in points if p <= t) for t in range(1, days + 1)}
    windows = {t: {coin[s] for s in range(t - m, t + 1)} for t in range(m + 1, days + 1)}
    shared = [len(windows[t] & windows[u]) for t in windows for u in windows]
    return sum(2.0 ** (o + 1) for o in shared if o) / (days - m) ** 2


def every_set_of_points(days: int) -> list[tuple[int, ...]]:
    return [(1, *more) for k in range(days) for more in combinations(range(2, days + 1), k)]


def test_twelve_days_with_carryover_two_are_tossed_on_days_1_5_7_9() -> None:
    assert optimal_points(12, 2) == (1, 5, 7, 9)


@pytest.mark.parametrize(
    ("points", "published"),
    [
        (optimal_points(120, 2), 26.66),
        (tuple(range(1, 121)), 33.67),
        (tuple(range(1, 121, 3)), 27.81),
    ],
    ids=["optimal", "daily", "blocks of three"],
)
def test_the_published_risks_of_120_days(points: tuple[int, ...], published: float) -> None:
    assert round(100 * risk(points, 120, 2), 2) == published


@given(st.integers(0, 4), st.data())
def test_the_risk_is_what_counting_coins_gives(m: int, data: st.DataObject) -> None:
    days = data.draw(st.integers(m + 1, 16))
    points = (1, *sorted(data.draw(st.sets(st.integers(2, days), max_size=days)) if days > 1 else ()))
    assert risk(points, days, m) == pytest.approx(risk_by_counting(points, days, m), rel=1e-12)


@pytest.mark.parametrize("m", [0, 1, 2, 3])
@pytest.mark.parametrize("days", range(4, 12))
def test_no_set_of_points_beats_the_search_up_to_eleven_days(days: int, m: int) -> None:
    best = min(risk(points, days, m) for points in every_set_of_points(days))
    assert search(days, m).risk == pytest.approx(best, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("m", [0, 1, 2, 3])
@pytest.mark.parametrize("days", [12, 13, 14])
def test_no_set_of_points_beats_the_search_up_to_fourteen_days(days: int, m: int) -> None:
    best = min(risk(points, days, m) for points in every_set_of_points(days))
    assert search(days, m).risk == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("days", "m"), [(n * m, m) for m in (1, 2, 3) for n in range(4, 15) if n * m <= 14])
def test_the_published_points_are_optimal_where_every_set_can_be_tried(days: int, m: int) -> None:
    assert risk(optimal_points(days, m), days, m) == pytest.approx(search(days, m).risk, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 9), st.integers(0, 3), st.data())
def test_under_constraints_too_no_set_of_points_beats_the_search(days: int, m: int, data: st.DataObject) -> None:
    forbidden = data.draw(st.sets(st.integers(2, days), max_size=3))
    cap = data.draw(st.none() | st.integers(1, days))
    gap = data.draw(st.integers(1, 3))
    allowed = [
        points
        for points in every_set_of_points(days)
        if not forbidden & set(points)
        and (cap is None or len(points) <= cap)
        and min(block_lengths(points, days)) >= gap
    ]
    found = search(days, m, forbidden=forbidden, most_points=cap, least_gap=gap)
    assert found.points in allowed
    assert found.risk == pytest.approx(min(risk(points, days, m) for points in allowed), rel=1e-12)
    assert found.risk == pytest.approx(risk(found.points, days, m), rel=1e-12)


def moved_by_hand(points: tuple[int, ...], forbidden: set[int], way: str) -> tuple[int, ...]:
    """What a person does with points on forbidden days: move each to the next free day, the one before, the nearer."""

    def free(point: int, step: int) -> int:
        while point in forbidden:
            point += step
        return point

    choose = {"later": lambda p: free(p, 1), "earlier": lambda p: free(p, -1)}
    choose["nearer"] = lambda p: min(free(p, 1), free(p, -1), key=lambda q: abs(p - q))
    return tuple(sorted({choose[way](point) for point in points}))


def test_under_a_calendar_blackout_the_search_beats_moving_the_optimum_by_hand() -> None:
    # Twelve weeks from a Monday, m = 3, and no price changes on Fridays, Saturdays and Sundays.
    forbidden = {day for day in range(1, 85) if day % 7 in (5, 6, 0)}
    found = search(84, 3, forbidden=forbidden)
    assert not set(found.points) & forbidden
    for way in ("later", "earlier", "nearer"):
        assert risk(moved_by_hand(optimal_points(84, 3), forbidden, way), 84, 3) > 1.05 * found.risk


def test_whole_weeks_are_points_on_one_weekday_only() -> None:
    mondays = set(range(1, 85, 7))
    found = search(84, 3, forbidden=set(range(1, 85)) - mondays)
    assert all(length % 7 == 0 for length in block_lengths(found.points, 84))


def test_overstating_carryover_by_one_costs_little_and_flipping_daily_costs_a_quarter() -> None:
    best = search(120, 2).risk
    assert risk(tuple(range(1, 121)), 120, 2) / best == pytest.approx(1.26, abs=0.02)
    assert risk(search(120, 3).points, 120, 2) / best < 1.05


@pytest.mark.parametrize(
    ("days", "m", "given_", "named"),
    [
        (12, 13, {}, "handles 0 to 12"),
        (5, 5, {}, "smaller than the number of days"),
        (12, 2, {"forbidden": [1]}, "day 1"),
        (12, 2, {"most_points": 0}, "most_points = 0"),
        (12, 2, {"least_gap": 13}, "shortest block of 13"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_value(
    days: int, m: int, given_: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        search(days, m, **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(("days", "m"), [(13, 2), (6, 2), (3, 3)])
def test_where_no_optimum_is_published_none_is_made_up(days: int, m: int) -> None:
    with pytest.raises(ValueError, match="n x m days"):
        optimal_points(days, m)


def test_points_increase() -> None:
    assert all(a < b for a, b in pairwise(search(60, 4).points))
