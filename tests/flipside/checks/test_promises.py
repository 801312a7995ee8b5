"""The promises as a replay checks them: what is urgent is known as such, and nothing else is excused."""

from datetime import timedelta

import pytest

from controller.messages.events import Assignment, Reason
from controller.messages.inputs import Blackout, Scope
from controller.time.periods import day_start
from flipside.checks.promises import check
from tests.controller.builders import START, an_experiment
from tests.controller.decisions.assignment_logs import CHICAGO, HOUR, a_log, on_control, published

EXPERIMENT = an_experiment()
MORNING = day_start(START + timedelta(days=3), CHICAGO) + 9 * HOUR
WINDOW = Blackout(id="w", scope=Scope(kind="global"), starts_at=MORNING - HOUR, ends_at=MORNING + HOUR, reason="x")


def assignments(records: list[object]) -> list[Assignment]:
    return [r for r in records if isinstance(r, Assignment)]


def killed() -> list[Assignment]:
    """Four days, and a kill on the morning of the fourth."""
    released = [r for market in ("m0", "m1") for r in on_control(EXPERIMENT, market, MORNING)]
    return assignments([*a_log(EXPERIMENT, 4), *released])


def test_a_kill_breaks_no_promise_though_it_waits_for_no_boundary_and_no_blackout() -> None:
    census, violations = check(published(EXPERIMENT), killed(), [WINDOW])
    assert violations == []
    assert census.flips > 0


@pytest.mark.parametrize(
    ("edit", "promises"),
    [
        ({"reason": Reason(code="released")}, {"boundary", "ahead", "one price", "blackout"}),
        ({"arm": "cheap"}, {"boundary", "ahead", "blackout"}),
        ({"decided_at": MORNING + HOUR}, {"ahead"}),
        ({"planned_arm": "cheap"}, {"determinism"}),
    ],
)
def test_what_only_looks_like_a_kill_is_held_to_every_promise(edit: dict[str, object], promises: set[str]) -> None:
    log = [r.model_copy(update=edit) if r.block == -1 else r for r in killed()]
    assert {violation.promise for violation in check(published(EXPERIMENT), log, [WINDOW])[1]} >= promises
