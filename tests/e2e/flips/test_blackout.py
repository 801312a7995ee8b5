"""A blackout over one store's week, from the window to the number."""

from datetime import timedelta

import pytest

from controller.messages.events import Assignment
from flipside.replay.plan import FIRST_DAY
from tests.e2e.eventful import BLACKOUT, BLACKOUT_DAYS, BLACKOUT_STORE, DAYS, PRODUCTS, Outcome
from tests.e2e.running import final_estimates

pytestmark = pytest.mark.broker


def of_the_store(outcome: Outcome) -> list[Assignment]:
    return sorted((a for a in outcome.result.log if a.cluster == BLACKOUT_STORE), key=lambda a: (a.unit, a.day))


def inside(outcome: Outcome) -> list[Assignment]:
    first, end = BLACKOUT_DAYS
    return [a for a in of_the_store(outcome) if first <= a.day < end]


def test_no_arm_of_the_store_changes_inside_the_window(eventful: Outcome) -> None:
    first, end = BLACKOUT_DAYS
    assert len(inside(eventful)) == PRODUCTS * (end - first).days
    before = {a.unit: a.arm for a in of_the_store(eventful) if a.day < first}
    assert all(a.arm == before[a.unit] for a in inside(eventful))
    # The draw wanted changes, or there would have been nothing to stop.
    assert {a.planned_arm for a in inside(eventful)} == {"control", "treatment"}
    assert eventful.result.broken_promises == ()


def test_other_stores_flip_in_that_week(eventful: Outcome) -> None:
    first, end = BLACKOUT_DAYS
    others: dict[str, set[str]] = {}
    for a in eventful.result.log:
        if a.cluster != BLACKOUT_STORE and first <= a.day < end:
            others.setdefault(a.cluster, set()).add(a.arm)
            assert (a.arm, a.reason.code) == (a.planned_arm, "scheduled")
    assert all(arms == {"control", "treatment"} for arms in others.values())


def test_each_arm_inside_is_published_with_the_window_as_its_reason(eventful: Outcome) -> None:
    assert {(a.reason.code, a.reason.detail) for a in inside(eventful)} == {("blackout", BLACKOUT.id)}
    outside = [a for a in eventful.result.log if a not in inside(eventful)]
    assert {a.reason.code for a in outside} == {"scheduled", "released"}
    blocked = [a for a in eventful.result.log if a.arm != a.planned_arm]
    assert len(blocked) == eventful.result.flips_blocked > 0


def test_the_estimate_lists_the_cells_that_it_leaves_out(eventful: Outcome) -> None:
    last = str(FIRST_DAY + timedelta(days=DAYS - 1))
    # All of the week, also where the draw agrees with the arm that was kept: the window decided, not the draw.
    cells = {f"{a.unit} {a.day}" for a in inside(eventful)}
    for metric in ("units", "revenue", "margin"):
        estimate = final_estimates(eventful.result.estimates)[metric, "treatment", last]
        assert set(estimate["blocked_cells"]) == cells
        assert estimate["left_out"]["blackout"] == len(cells)
