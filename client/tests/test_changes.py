"""What a callback hears: each change of what holds once, each announcement once."""

from client.tests.builders import UNIT, assignment, at
from flipside_client.changes import Change, Changes
from flipside_client.fold import Fold
from flipside_client.record import Assignment, instant_ms


class Listener:
    """A client's callback and a clock moved by hand."""

    def __init__(self, *loaded: Assignment, day: int, hour: int = 0) -> None:
        self.fold = Fold()
        for record in loaded:
            self.fold.apply(record)
        self.changes = Changes(self.fold, instant_ms(at(day, hour)))

    def takes(self, record: Assignment, day: int, hour: int = 0) -> list[tuple[str, str | None, str | None]]:
        assert self.fold.apply(record) == "applied"
        return _told(self.changes.taken(record.unit, record, instant_ms(at(day, hour))))

    def waits_until(self, day: int, hour: int = 0) -> list[tuple[str, str | None, str | None]]:
        return _told(self.changes.due(instant_ms(at(day, hour))))


def _told(changes: object) -> list[tuple[str, str | None, str | None]]:
    return [(change.kind, change.old.arm, change.new.arm) for change in changes]  # type: ignore[attr-defined]


def test_what_was_loaded_is_not_told_as_news() -> None:
    listener = Listener(assignment(1), day=1, hour=3)
    assert listener.waits_until(1, 23) == []


def test_an_announcement_is_told_at_once_and_its_flip_at_its_instant() -> None:
    listener = Listener(assignment(1, "low"), day=1)
    assert listener.takes(assignment(2, "control"), 1, 23) == [("announced", "low", "control")]
    assert listener.waits_until(1, 23) == []
    assert listener.changes.next_due_ms() == instant_ms(at(2))
    assert listener.waits_until(2) == [("effective", "low", "control")]
    assert listener.waits_until(2, 5) == []


def test_a_lease_that_runs_out_is_told_as_a_change_to_control() -> None:
    listener = Listener(assignment(1, "low"), day=1)
    assert listener.waits_until(2) == [("effective", "low", None)]


def test_a_record_that_holds_at_once_is_told_at_once() -> None:
    listener = Listener(day=1)
    assert listener.takes(assignment(1, "high"), 1, 5) == [("effective", None, "high")]


def test_a_renewal_with_the_same_arm_is_told_but_changes_no_price() -> None:
    listener = Listener(assignment(1, "low"), assignment(2, "low"), day=1)
    (change,) = listener.changes.due(instant_ms(at(2)))
    assert (change.old.assignment_id, change.new.assignment_id) == (f"spring.1/1/{UNIT}", f"spring.1/2/{UNIT}")
    assert not change.price_changes


def test_a_clock_that_jumps_over_days_tells_the_present_answer_once() -> None:
    known_early = assignment(3, "control", decided_at=at(1, 1))
    listener = Listener(assignment(1, "low"), assignment(2, "high"), known_early, day=1)
    assert listener.waits_until(3, 12) == [("effective", "low", "control")]


def test_an_announcement_that_is_replaced_takes_effect_as_its_replacement_alone() -> None:
    listener = Listener(assignment(1, "low"), day=1)
    listener.takes(assignment(2, "high"), 1, 22)
    assert listener.takes(assignment(2, "control", sequence=3), 1, 23) == [("announced", "low", "control")]
    assert listener.waits_until(2) == [("effective", "low", "control")]


def test_a_tombstone_is_told_as_a_change_to_control() -> None:
    listener = Listener(assignment(1, "low"), day=1)
    listener.fold.forget(UNIT)
    (change,) = listener.changes.taken(UNIT, None, instant_ms(at(1, 5)))
    assert isinstance(change, Change)
    assert (change.unit, change.old.arm, change.new.why) == (UNIT, "low", "unknown")


def test_the_list_of_due_instants_does_not_grow_with_the_days() -> None:
    listener = Listener(assignment(1), day=1)
    for day in range(2, 60):
        listener.takes(assignment(day, "low" if day % 2 else "high"), day - 1, 23)
        listener.waits_until(day)
    assert len(listener.changes._due) <= 3
