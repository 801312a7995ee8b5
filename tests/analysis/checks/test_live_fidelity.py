"""A pricing system that ignores its arms is named within minutes of its own report, and not a day later."""

from datetime import timedelta

import numpy as np
import pytest
from structlog.testing import capture_logs

from analysis.checks.live_fidelity import CHECK, GRACE_SECONDS, LiveFidelity, standing_at
from analysis.panel_data.assignment_columns import DAY_US, FOREVER, Holds
from analysis.panel_data.ledger import MOST_WAITING, Ledger
from analysis.worker.analyse import due
from analysis.worker.worker import tell_failing
from controller.messages.events import Assignment
from controller.messages.findings import Health
from controller.messages.inputs import Applied
from tests.analysis.traffic import START, assignments, closing, experiment, history, registered

DEFINITION = experiment(markets=4, products=3, days=5)


class Minutes:
    """A clock of seconds that is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """An analysis that has read the assignments of the first day, and hears reports."""

    def __init__(self) -> None:
        self.ledger, self.clock = Ledger(), Minutes()
        self.ledger.fold(registered(DEFINITION))
        self.today = [a for a in assignments(DEFINITION) if a.day == START]
        for assignment in self.today:
            self.ledger.fold(assignment)
        self.live = LiveFidelity(self.ledger, self.clock)

    def report(self, assignment: Assignment, arm: str, minutes: float = 1, system: str | None = "tills") -> None:
        at = assignment.effective_at + timedelta(minutes=minutes)
        report = Applied(
            id=f"{assignment.unit}/{minutes}/{arm}",
            unit=assignment.unit,
            arm=arm,
            price_minor=None,
            applied_at=at,
            assignment=assignment.id,
            system=system,
        )
        self.ledger.fold(report)
        self.live.heard(report)

    def found(self, after: float = 0.0) -> Health | None:
        self.clock.now += after
        return next(self.live.findings(), None)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_arms_that_are_not_live_fail_within_a_minute_and_name_experiment_units_and_system(desk: Desk) -> None:
    ignored = [a for a in desk.today if a.arm != "control"]
    for assignment in desk.today:
        desk.report(assignment, "control")
    assert desk.found() is None, "nobody says that all is well while something wrong waits"
    found = desk.found(after=GRACE_SECONDS)
    assert found is not None
    assert (found.key, found.verdict, found.value) == (f"{DEFINITION.name}/{CHECK}", "fail", 0.0)
    assert found.units == tuple(sorted(a.unit for a in ignored))[:10]
    assert found.systems == ("tills",)
    assert f"on {START}" in found.what_to_do
    with capture_logs() as logs:
        tell_failing(found)
    (line,) = logs
    assert (line["event"], line["experiment"], line["systems"]) == ("check fails", DEFINITION.name, ["tills"])
    assert line["units"] == list(found.units)
    assert desk.found(after=GRACE_SECONDS) is None, "it is said once"


def test_what_the_next_report_puts_right_at_once_is_no_finding(desk: Desk) -> None:
    (wrong, *_) = [a for a in desk.today if a.arm != "control"]
    desk.report(wrong, "control")
    assert desk.found() is None
    desk.report(wrong, wrong.arm, minutes=2)
    found = desk.found(after=10)
    assert found is not None
    assert (found.verdict, found.value, found.units) == ("pass", 1.0, ())


def test_a_system_that_mends_its_prices_passes_again(desk: Desk) -> None:
    (wrong, *_) = [a for a in desk.today if a.arm != "control"]
    desk.report(wrong, "control")
    failing = desk.found(after=GRACE_SECONDS)
    assert failing is not None
    assert failing.verdict == "fail"
    desk.report(wrong, wrong.arm, minutes=30)
    mended = desk.found(after=10)
    assert mended is not None
    assert (mended.verdict, mended.units) == ("pass", ())
    with capture_logs() as logs:
        tell_failing(mended)
    assert logs == []


def test_a_lease_that_is_over_is_to_show_control(desk: Desk) -> None:
    (treated, *_) = [a for a in desk.today if a.arm != "control"]
    assert treated.expires_at is not None
    late = (treated.expires_at - treated.effective_at) / timedelta(minutes=1) + 5
    desk.report(treated, "control", minutes=late)
    found = desk.found(after=GRACE_SECONDS)
    assert found is not None
    assert found.verdict == "pass"


def test_days_that_are_closed_are_judged_by_their_closing_alone(desk: Desk) -> None:
    for market in desk.ledger.books:
        desk.ledger.fold(closing(DEFINITION, market, START))
    for assignment in desk.today:
        desk.report(assignment, "control")
    assert desk.found(after=GRACE_SECONDS) is None


def test_a_report_of_a_unit_that_nobody_has_is_forgotten(desk: Desk) -> None:
    stray = desk.today[0].model_copy(update={"unit": "nowhere/p0"})
    desk.report(stray, "control")
    assert desk.found() is None
    assert desk.found(after=GRACE_SECONDS) is None
    assert desk.live._fresh == {}


def test_a_flood_of_units_that_nobody_has_is_kept_in_bounds_and_hides_nothing(desk: Desk) -> None:
    for number in range(MOST_WAITING + 100):
        desk.report(desk.today[0].model_copy(update={"unit": f"nowhere/p{number}"}), "control")
    assert len(desk.live._fresh) == MOST_WAITING
    ignored = next(a for a in desk.today if a.arm != "control")
    desk.report(ignored, "control")
    assert desk.found() is None
    found = desk.found(after=GRACE_SECONDS)
    assert found is not None
    assert found.units == (ignored.unit,)
    assert (desk.live._fresh, desk.live._strange) == ({}, set())


def test_the_assignment_that_stood_is_that_of_a_search_one_by_one() -> None:
    rng = np.random.default_rng(5)
    holds, said = Holds(), []
    for sequence in range(400):
        slot, at = int(rng.integers(8)), int(rng.integers(40 * DAY_US))
        said.append((at, 1, sequence, slot))
        holds.put(slot, at, FOREVER, 1, sequence, 7, sequence, 0)
    slots, instants = rng.integers(9, size=200), rng.integers(45 * DAY_US, size=200)
    study, arm, expires = standing_at(holds, slots, instants)
    for place, (slot, instant) in enumerate(zip(slots.tolist(), instants.tolist(), strict=True)):
        begun = [row for row in said if row[3] == slot and row[0] <= instant]
        wanted = max(begun)[2] if begun else -1
        assert arm[place] == wanted, (slot, instant)
        assert (study[place] == 7, expires[place] == FOREVER) == (bool(begun), bool(begun))


def test_the_check_of_a_closed_day_names_units_too() -> None:
    ledger = Ledger()
    for message in history(DEFINITION):
        if not isinstance(message, Applied):
            ledger.fold(message)
    said = [a for a in assignments(DEFINITION) if a.day == START]
    for a in said:
        ledger.fold(
            Applied(id=a.id, unit=a.unit, arm="control", price_minor=1, applied_at=a.effective_at, assignment=None)
        )
    (found,) = [f for f in due(ledger, {}) if isinstance(f, Health) and f.check == "fidelity"]
    assert found.verdict == "fail"
    assert found.units == tuple(sorted(a.unit for a in said if a.arm != "control"))[:10]
