"""A sale that comes after its day was closed: a revision, seen at every step, and counted once."""

from datetime import timedelta

import pytest

from controller.definition.field_types import market_of
from controller.messages.events import Estimate, PeriodClosed, UnitDay
from controller.messages.topics import ESTIMATE, PANEL
from flipside.replay.plan import FIRST_DAY
from tests.e2e.eventful import DAYS, LATE_DAY, PRODUCTS, UNIT, Outcome, sale
from tests.e2e.running import final_estimates

pytestmark = pytest.mark.broker


def test_the_unit_day_is_published_again_with_the_sale_counted_once(eventful: Outcome) -> None:
    rows = [m for m in eventful.messages[PANEL] if isinstance(m, UnitDay) and (m.unit, m.day) == (UNIT, LATE_DAY)]
    assert [row.revision for row in rows] == [0, 1]
    before, after = rows
    late = sale("late", LATE_DAY)
    assert after.events == before.events + 1
    assert after.quantity == before.quantity + late.quantity
    assert after.revenue_minor == before.revenue_minor + late.quantity * late.price_minor


def test_no_other_unit_day_is_touched(eventful: Outcome) -> None:
    revised = {(m.unit, m.day) for m in eventful.messages[PANEL] if isinstance(m, UnitDay) and m.revision}
    assert revised == {(UNIT, LATE_DAY)}


def test_the_day_is_closed_again_and_says_that_it_was_revised(eventful: Outcome) -> None:
    closings = [
        m
        for m in eventful.messages[PANEL]
        if isinstance(m, PeriodClosed) and (m.market, m.day) == (market_of(UNIT), LATE_DAY)
    ]
    first, again = closings
    assert (first.revision, first.revised) == (0, 0)
    assert again.revision > 0
    assert (again.revised, again.unit_days, again.events) == (1, PRODUCTS, first.events + 1)


def test_the_estimate_is_published_again_as_a_revision(eventful: Outcome) -> None:
    last = FIRST_DAY + timedelta(days=DAYS - 1)
    now = [m for m in eventful.messages[ESTIMATE] if isinstance(m, Estimate)]
    for metric in ("units", "revenue", "margin"):
        place = (metric, "treatment", str(last))
        before, after = final_estimates(eventful.result.estimates)[place], final_estimates(now)[place]
        assert (before["revision"], before["cells"]) == (0, after["cells"])
        assert after["revision"] == 1
        assert after["relative"] != before["relative"]
