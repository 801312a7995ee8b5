"""The rules: which arm holds at an instant, whatever came in whatever order."""

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.tests.builders import DAY_MS, HOUR_MS, UNIT, assignment, at, wire
from flipside_client.fold import FORGET_MS, Fold, Price, in_force, insert
from flipside_client.record import Assignment, instant_ms

MILLISECOND = timedelta(milliseconds=1)


def fold_of(*records: Assignment) -> Fold:
    fold = Fold()
    for record in records:
        fold.apply(record)
    return fold


# --- what holds ------------------------------------------------------------------------------------------------------


def test_the_arm_flips_at_its_first_instant_and_ends_with_its_lease() -> None:
    fold = fold_of(assignment(1, "low"))
    assert fold.arm(UNIT, at(1) - MILLISECOND) is None
    assert fold.arm(UNIT, at(1)) == "low"
    assert fold.arm(UNIT, at(2) - MILLISECOND) == "low"
    assert fold.arm(UNIT, at(2)) is None


def test_what_is_announced_in_the_evening_does_not_disturb_the_day() -> None:
    fold = fold_of(assignment(1, "low"), assignment(2, "control"))
    assert fold.arm(UNIT, at(1, 23, 30)) == "low"
    assert fold.arm(UNIT, at(2)) == "control"
    assert [record.arm for record in fold.announced(UNIT, at(1, 23, 30))] == ["control"]


def test_a_day_that_arrives_after_the_next_one_still_holds_until_midnight() -> None:
    fold = fold_of(assignment(2, "control"), assignment(1, "low"))
    assert fold.arm(UNIT, at(1, 12)) == "low"
    assert fold.arm(UNIT, at(2, 12)) == "control"


def test_an_older_epoch_never_beats_a_newer_one_however_high_its_sequence() -> None:
    new, old = assignment(1, "control", epoch=8, sequence=0), assignment(1, "low", epoch=7, sequence=999)
    for order in ((new, old), (old, new)):
        assert fold_of(*order).arm(UNIT, at(1)) == "control"
    assert fold_of(new, old).counts["old"] == 1


def test_a_newer_record_for_the_same_day_replaces_the_announced_one() -> None:
    fold = fold_of(assignment(1), assignment(2, "low"), assignment(2, "control", sequence=3))
    assert fold.arm(UNIT, at(2)) == "control"
    assert len(fold.announced(UNIT, at(1, 23))) == 1


def test_a_kill_at_noon_ends_the_arm_and_cancels_what_older_records_announced() -> None:
    kill = assignment(1, "control", sequence=9, effective_at=at(1, 12), expires_at=None, reason={"code": "released"})
    fold = fold_of(assignment(1, "low"), assignment(2, "low"), kill)
    assert fold.arm(UNIT, at(1, 11, 59)) == "low"
    assert fold.arm(UNIT, at(1, 12)) is None
    assert fold.arm(UNIT, at(2, 12)) is None
    assert fold.price(UNIT, at(2, 12)).why == "released"


def test_a_late_record_about_today_takes_effect_at_once() -> None:
    fold = fold_of(assignment(1, "low"))
    assert fold.apply(assignment(1, "high", sequence=5, decided_at=at(1, 10))) == "applied"
    assert fold.arm(UNIT, at(1, 10)) == "high"


def test_a_record_about_a_day_long_over_changes_nothing() -> None:
    fold = fold_of(assignment(4), assignment(5))
    assert fold.apply(assignment(1, "high", sequence=1)) == "old"
    assert fold.arm(UNIT, at(5, 1)) == "low"


def test_an_arm_that_a_blackout_kept_is_shown_and_says_what_was_planned() -> None:
    fold = fold_of(assignment(1, "low"), assignment(2, "low", planned_arm="control", reason={"code": "blackout"}))
    record = fold.assignment(UNIT, at(2, 12))
    assert record is not None
    assert (record.arm, record.planned_arm, record.reason) == ("low", "control", "blackout")


def test_once_the_lease_lapses_with_nothing_newer_the_price_is_controls_and_says_so() -> None:
    fold = fold_of(assignment(1, "low"))
    assert fold.price(UNIT, at(1, 6)) == Price(
        UNIT, "low", 900, "EUR", f"spring.1/1/{UNIT}", "assigned", instant_ms(at(2))
    )
    lapsed = fold.price(UNIT, at(2))
    assert lapsed.lease_lapsed
    assert (lapsed.arm, lapsed.price_minor, lapsed.assignment_id) == (None, None, None)
    assert fold.assignment(UNIT, at(2)) is None


def test_a_lapsed_lease_is_not_filled_by_an_older_record_that_would_still_run() -> None:
    long_one = assignment(1, "low", expires_at=at(9))
    short_one = assignment(2, "high", effective_at=at(2), expires_at=at(3))
    for order in ((long_one, short_one), (short_one, long_one)):
        assert fold_of(*order).arm(UNIT, at(4)) is None


def test_a_unit_without_records_is_on_control() -> None:
    fold = fold_of(assignment(1))
    assert fold.arm("berlin/other", at(1)) is None
    assert fold.price("berlin/other", at(1)).why == "unknown"
    assert fold.price(UNIT, at(0)).why == "announced"


def test_the_answer_says_until_when_it_holds() -> None:
    fold = fold_of(assignment(1, "low"), assignment(2, "control", effective_at=at(1, 18)))
    assert fold.price(UNIT, at(0)).until_ms == instant_ms(at(1))
    assert fold.price(UNIT, at(1)).until_ms == instant_ms(at(1, 18))
    assert fold.price(UNIT, at(3)).until_ms is None


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_a_record_may_come_as_often_as_it_likes() -> None:
    fold = Fold()
    outcomes = [fold.take(UNIT.encode(), wire(1))[0] for _ in range(3)]
    assert outcomes == ["applied", "repeated", "repeated"]
    assert fold.arm(UNIT, at(1)) == "low"


def test_unreadable_bytes_are_counted_and_what_holds_goes_on_holding() -> None:
    fold = fold_of(assignment(1, "low"))
    for value in (b"{", b"\xff", b"{}", wire(2).replace(b'"version":1', b'"version":2')):
        assert fold.take(UNIT.encode(), value) == ("unreadable", None)
    assert fold.take(b"\xff", None) == ("unreadable", None)
    assert fold.take(None, None) == ("unreadable", None)
    assert fold.counts["unreadable"] == 6
    assert fold.arm(UNIT, at(1)) == "low"


def test_two_records_with_one_version_are_counted_as_a_conflict_and_the_first_stays() -> None:
    fold = fold_of(assignment(1, "low"))
    assert fold.apply(assignment(1, "high")) == "conflicting"
    assert fold.arm(UNIT, at(1)) == "low"


def test_a_tombstone_puts_the_unit_on_control_and_old_records_do_not_bring_it_back() -> None:
    fold = fold_of(assignment(1, "low"), assignment(2, "high"))
    assert fold.take(UNIT.encode(), None) == ("tombstone", None)
    assert fold.arm(UNIT, at(1)) is None
    assert fold.apply(assignment(2, "high")) == "old"
    assert fold.arm(UNIT, at(2)) is None
    assert fold.apply(assignment(3, "high")) == "applied"
    assert fold.arm(UNIT, at(3)) == "high"


def test_a_second_tombstone_does_not_forget_what_the_first_one_knew() -> None:
    fold = fold_of(assignment(2))
    fold.forget(UNIT)
    fold.forget(UNIT)
    assert fold.apply(assignment(2)) == "old"


def test_naive_datetimes_are_refused_rather_than_taken_for_utc() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        Fold().arm(UNIT, at(1).replace(tzinfo=None))


def test_an_answer_cannot_be_changed_by_its_reader() -> None:
    with pytest.raises(FrozenInstanceError):
        fold_of(assignment(1)).price(UNIT, at(1)).arm = "high"  # type: ignore[misc]


def test_memory_does_not_grow_with_the_days_of_an_experiment() -> None:
    held: tuple[Assignment, ...] = ()
    for day in range(1, 366):
        held, _ = insert(held, assignment(day))
        assert len(held) <= 2


# --- theorems --------------------------------------------------------------------------------------------------------

START = instant_ms(at(1))
UNITS = (UNIT, "berlin/sku-2")


@st.composite
def records(draw: st.DrawFn) -> list[Assignment]:
    """Any records of two units with distinct versions: leases may overlap, leave gaps, be empty or have no end."""
    base = assignment(1)
    versions = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=9, unique=True))
    drawn = []
    for epoch, sequence in versions:
        start = START + draw(st.integers(0, 12)) * 4 * HOUR_MS
        length = draw(st.none() | st.integers(0, 6))
        drawn.append(
            base._replace(
                unit=draw(st.sampled_from(UNITS)),
                id=f"{epoch}.{sequence}",
                arm=draw(st.sampled_from(["control", "low", "high"])),
                effective_at_ms=start,
                expires_at_ms=None if length is None else start + length * 4 * HOUR_MS,
                decided_at_ms=START + draw(st.integers(-6, 12)) * 4 * HOUR_MS,
                epoch=epoch,
                sequence=sequence,
            )
        )
    return drawn


def by_definition(taken: list[Assignment], unit: str, now_ms: int) -> str | None:
    """The slow oracle: the rule of fold.py, word for word."""
    begun = [record for record in taken if record.unit == unit and record.effective_at_ms <= now_ms]
    if not begun:
        return None
    newest = max(begun, key=lambda record: record.version)
    return newest.arm if newest.expires_at_ms is not None and now_ms < newest.expires_at_ms else None


@given(records(), st.data())
def test_any_order_and_any_repetition_give_the_same_arm_at_every_instant(
    drawn: list[Assignment], data: st.DataObject
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(drawn), max_size=6))
    fold = fold_of(*data.draw(st.permutations(drawn + repeated)))
    for unit in UNITS:
        newest_decision = max((record.decided_at_ms for record in drawn if record.unit == unit), default=START)
        instants = [START + step * HOUR_MS + offset for step in range(-30, 110) for offset in (-1, 0)]
        for now_ms in instants:
            if now_ms >= newest_decision - FORGET_MS:
                assert fold.arm(unit, now_ms) == by_definition(drawn, unit, now_ms)


@given(records())
def test_arm_price_and_assignment_never_contradict_each_other(drawn: list[Assignment]) -> None:
    fold = fold_of(*drawn)
    for unit in UNITS:
        for now_ms in range(START - DAY_MS, START + 5 * DAY_MS, HOUR_MS):
            price, record = fold.price(unit, now_ms), fold.assignment(unit, now_ms)
            assert fold.arm(unit, now_ms) == price.arm == (record.arm if record else None)
            assert price.assignment_id == (record.id if record else None)
            if price.until_ms is not None:
                assert price.until_ms > now_ms
                assert fold.price(unit, price.until_ms - 1).arm == price.arm


@given(records())
def test_who_starts_cold_on_the_newest_record_agrees_from_its_first_instant_on(drawn: list[Assignment]) -> None:
    warm = fold_of(*drawn)
    for unit in {record.unit for record in drawn}:
        newest = max((record for record in drawn if record.unit == unit), key=lambda record: record.version)
        cold = fold_of(newest)
        start = max(newest.effective_at_ms, *(record.decided_at_ms - FORGET_MS for record in drawn))
        for now_ms in range(start, start + 5 * DAY_MS, HOUR_MS):
            assert cold.arm(unit, now_ms) == warm.arm(unit, now_ms)


@pytest.mark.parametrize("lead_hours", [1, 23])
def test_who_starts_cold_agrees_at_once_where_the_last_three_days_are_not_compacted(lead_hours: int) -> None:
    """Compaction may take a record only once it is older than min.compaction.lag.ms; the newest one always stays."""
    days = [assignment(day, "low" if day % 2 else "high", decided_at=at(day, -lead_hours)) for day in range(1, 9)]
    for hour in range(24, 8 * 24):
        now = at(0, hour)
        known = [record for record in days if record.decided_at_ms <= instant_ms(now)]
        left = [record for record in known if record.decided_at_ms > instant_ms(now) - 3 * DAY_MS]
        cold, warm = fold_of(*left), fold_of(*known)
        assert cold.arm(UNIT, now) == warm.arm(UNIT, now) is not None


def test_without_that_lag_a_cold_start_after_the_announcement_would_be_on_control_until_midnight() -> None:
    announced_only = fold_of(assignment(2, "low"))
    assert announced_only.price(UNIT, at(1, 23, 30)).why == "announced"


def test_the_record_that_speaks_is_the_newest_that_has_begun() -> None:
    held, _ = insert((assignment(1),), assignment(2, "high"))
    assert in_force(held, instant_ms(at(0))) is None
    first, second = in_force(held, instant_ms(at(1))), in_force(held, instant_ms(at(7)))
    assert first is not None
    assert second is not None
    assert (first.arm, second.arm) == ("low", "high")
