"""Sales to unit-days, and the day that a watermark has closed."""

from datetime import UTC, date, datetime
from itertools import permutations

from controller.outcomes.unit_days import UnitDayTotal, last_closed_day

#: quantity, price and cost of one piece
SALES = ((2, 349, 210), (1, 299, None), (3, 349, 0))


def test_in_whatever_order_sales_come_their_sums_are_the_same_and_one_without_a_cost_is_told_apart() -> None:
    totals = []
    for order in permutations(SALES):
        total = UnitDayTotal()
        for sale in order:
            total.add(*sale)
        totals.append(total)
    expected = UnitDayTotal(quantity=6, revenue_minor=2044, cost_minor=420, costed=2, events=3)
    assert totals == [expected] * 6


def test_a_day_is_closed_at_its_local_midnight_and_not_an_instant_before() -> None:
    midnight = datetime(2031, 3, 9, 5, tzinfo=UTC)  # the change of clocks of New York is two hours later
    assert last_closed_day(midnight, "America/New_York") == date(2031, 3, 8)
    assert last_closed_day(midnight.replace(hour=4, minute=59), "America/New_York") == date(2031, 3, 7)
