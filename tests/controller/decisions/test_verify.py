"""Verification: the log against the published definition, difference by difference."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.decisions.enrolment import Enrolment, admit
from controller.decisions.verify import Difference, verify
from controller.definition.experiment import withheld
from controller.definition.field_types import Message
from controller.messages.control import Action, Kill, LifecycleChanged, SeedRevealed, State
from controller.messages.events import Assignment, Reason, Undelivered
from controller.messages.inputs import Blackout
from controller.time.periods import day_start
from tests.controller.builders import BEFORE, START, an_experiment
from tests.controller.decisions.assignment_logs import CHICAGO, HOUR, a_log, change, on_control, other_arm, published
from tests.controller.decisions.triggered import a_trigger, triggered
from tests.controller.designs.specimens import SPECIMENS


def said(differences: Sequence[Difference]) -> list[tuple[str, str, int]]:
    return [(d.kind, d.subject, (d.day - START).days) for d in differences if d.day]


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name != "triggered"])
def test_an_honest_log_has_no_differences(name: str) -> None:
    experiment = an_experiment(**SPECIMENS[name])
    assert verify(published(experiment), a_log(experiment), through=experiment.end - timedelta(days=1)) == ()


def test_one_altered_one_missing_and_one_doubled_record_are_exactly_what_is_named() -> None:
    log = a_log(an_experiment())
    log = change(log, "m0/p1", 3, lambda r: (other_arm(r),))
    log = change(log, "m1/p0", 5, lambda r: ())
    log = change(log, "m1/p2", 7, lambda r: (r, r))
    found = verify(published(an_experiment()), log)
    assert said(found) == [("altered", "m0/p1", 3), ("missing", "m1/p0", 5), ("doubled", "m1/p2", 7)]
    assert [d.harmless for d in found] == [False, False, True]
    assert "planned" in str(found[0])


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        ({"arm": "cheap", "planned_arm": "control"}, "altered"),
        ({"arm": "control", "planned_arm": "cheap"}, "altered"),
        ({"design_hash": "f" * 64}, "altered"),
        ({"block": 99}, "altered"),
        ({"cluster": "m0/p0"}, "altered"),
        ({"decided_at": day_start(START + timedelta(days=4), CHICAGO)}, "late"),
        ({"unit": "m0/ghost"}, "unplanned"),
    ],
)
def test_each_way_of_tampering_is_found(edit: dict[str, Any], kind: str) -> None:
    experiment = an_experiment()
    log = change(a_log(experiment), "m0/p1", 3, lambda r: (r.model_copy(update=edit),))
    assert kind in {d.kind for d in verify(published(experiment), log)}


def test_another_decision_for_the_same_instant_is_no_harmless_repetition() -> None:
    experiment = an_experiment()
    log = change(a_log(experiment), "m0/p1", 3, lambda r: (r, r.model_copy(update={"sequence": 10**6})))
    (found,) = verify(published(experiment), log)
    assert (found.kind, found.harmless) == ("doubled", False)


def test_a_blackout_excuses_a_kept_arm_but_not_an_altered_plan() -> None:
    experiment = an_experiment()
    log = a_log(experiment)

    def kept(record: Assignment) -> Sequence[Message]:
        arm = other_arm(record).arm
        return (record.model_copy(update={"arm": arm, "reason": Reason(code="blackout", detail="b1")}),)

    assert verify(published(experiment), change(log, "m0/p1", 3, kept)) == ()
    assert Blackout.model_fields["reason"].is_required()


def test_a_late_decision_that_control_has_replaced_is_not_doubled_if_that_is_newer() -> None:
    experiment = an_experiment()
    log = a_log(experiment)
    k = next(
        k for k, m in enumerate(log) if isinstance(m, Assignment) and m.arm != "control" and m.planned_arm == m.arm
    )
    old = log[k]
    assert isinstance(old, Assignment)
    change = {"id": f"{old.id}/late", "arm": "control", "reason": Reason(code="late")}
    newer = old.model_copy(update=change | {"epoch": old.epoch + 1, "sequence": 999})
    older = old.model_copy(update=change | {"sequence": 0, "epoch": 0})
    assert not verify(published(experiment), [*log, newer])
    assert [d.kind for d in verify(published(experiment), [*log, older])] == ["doubled"]


def test_days_that_were_reported_undelivered_are_not_missing() -> None:
    experiment = an_experiment()
    days = {START + timedelta(days=k) for k in (4, 5)}
    gap = [r for r in a_log(experiment) if not (isinstance(r, Assignment) and r.unit[:2] == "m0" and r.day in days)]
    assert len(verify(published(experiment), gap)) == 6
    excuse = Undelivered(id="u", experiment="oj-2026", experiment_version=1, market="m0", first_day=min(days),
                         last_day=max(days), reason="down", decided_at=BEFORE)  # fmt: skip
    assert verify(published(experiment), [*gap, excuse]) == ()


def test_a_log_that_ends_early_is_complete_up_to_there_unless_more_was_promised() -> None:
    experiment = an_experiment()
    log = a_log(experiment, days=5)
    assert verify(published(experiment), log) == ()
    assert len(verify(published(experiment), log, through=START + timedelta(days=5))) == 6
    assert [d.kind for d in verify(published(experiment), [])] == ["missing", "missing"]


def test_a_definition_that_does_not_hash_to_what_was_published_is_the_only_finding() -> None:
    registered = published(an_experiment()).model_copy(update={"experiment": an_experiment(seed="8")})
    assert [d.kind for d in verify(registered, a_log(an_experiment()))] == ["hash"]


def test_a_committed_seed_is_verified_once_it_is_revealed() -> None:
    experiment = an_experiment(seed="rosebud", seed_disclosure="committed")
    registered, log = published(withheld(experiment)), a_log(experiment)
    (waiting,) = verify(registered, log)
    assert (waiting.kind, "revealed" in waiting.detail) == ("seed", True)

    def reveal(seed: str) -> SeedRevealed:
        return SeedRevealed(id="s", experiment="oj-2026", experiment_version=1, design_hash=registered.design_hash,
                            seed=seed, revealed_at=BEFORE)  # fmt: skip

    assert verify(registered, [*log, reveal("rosebud")]) == ()
    assert [d.kind for d in verify(registered, [*log, reveal("sled")])] == ["seed"]


def test_records_of_other_experiments_and_versions_are_passed_over() -> None:
    experiment = an_experiment()
    strangers = a_log(an_experiment(name="other")) + a_log(an_experiment(version=2, seed="9"))
    other = [r.model_copy(update={"experiment_version": 2}) for r in strangers if isinstance(r, Assignment)]
    assert verify(published(experiment), [*a_log(experiment), *other]) == ()


def test_entries_of_triggers_are_checked_against_their_coins() -> None:
    experiment = triggered()
    enrolment, records = Enrolment(), list[Message]()
    for k in range(4):
        trigger = a_trigger(0, f"m0/p{k}")
        done = admit(experiment, enrolment, trigger, trigger.observed_at)
        enrolment = done.enrolment
        assert done.message is not None
        records.append(done.message)
    log = a_log(experiment, entries=enrolment.entries)
    assert verify(published(experiment), [*records, *log]) == ()
    forged = [records[0].model_copy(update={"arm": "cheap" if records[0].arm == "control" else "control"})]  # type: ignore[attr-defined]
    kinds = {d.kind for d in verify(published(experiment), [*forged, *records[1:], *log])}
    assert "entry" in kinds


# --- what people asked for while it ran ------------------------------------------------------------------------------


def asked(action: Action, state: State, at: datetime) -> LifecycleChanged:
    return LifecycleChanged(
        id=f"{action}/{at}", experiment="oj-2026", experiment_version=1, action=action, from_state="running",
        to_state=state, frozen=False, role="on_call", who="ada", why="x", changed_at=at,
    )  # fmt: skip


def test_a_kill_before_the_first_day_and_one_in_the_middle_are_as_asked_for() -> None:
    experiment = an_experiment()
    for hours, days in ((-10, 0), (-0.5, 1), (30, 2)):
        at = day_start(START, CHICAGO) + hours * HOUR
        killed = [r for m in ("m0", "m1") for r in on_control(experiment, m, at)]
        log = [*a_log(experiment, days), asked("kill", "stopped", at), *killed]
        assert verify(published(experiment), log, through=START + timedelta(days=9)) == (), hours


def test_a_kill_at_the_very_instant_of_a_flip_doubles_nothing_unless_it_is_the_older_of_the_two() -> None:
    experiment, at = an_experiment(), day_start(START, CHICAGO) + 48 * HOUR
    killed = [r for m in ("m0", "m1") for r in on_control(experiment, m, at, START + timedelta(days=2))]
    log = [*a_log(experiment, 3), asked("kill", "stopped", at), *killed]
    assert verify(published(experiment), log, through=START + timedelta(days=9)) == ()
    older = [r.model_copy(update={"epoch": -1}) if isinstance(r, Assignment) else r for r in killed]
    found = verify(published(experiment), [*log[: -len(killed)], *older])
    assert {d.kind for d in found} == {"doubled"}
    assert len(found) == 6


def test_a_switch_over_one_market_excuses_that_market_until_it_is_lifted() -> None:
    experiment, at = an_experiment(), day_start(START, CHICAGO) + 60 * HOUR
    pulled = Kill(id="market.m0", scope="market", name="m0", who="ada", why="x", requested_at=at)
    lifted = pulled.model_copy(update={"lifted": True, "requested_at": at + 48 * HOUR})
    silent = {START + timedelta(days=k) for k in (3, 4)}
    gap = [r for r in a_log(experiment) if not (isinstance(r, Assignment) and r.unit[:2] == "m0" and r.day in silent)]
    log = [*gap, pulled, *on_control(experiment, "m0", at), lifted]
    assert verify(published(experiment), log) == ()
    without = verify(published(experiment), [r for r in log if not isinstance(r, Kill)])
    assert {d.kind for d in without} == {"altered", "missing"}
    assert {d.subject[:2] for d in without} == {"m0"}


def test_a_pause_is_kept_to_and_what_comes_after_it_is_checked_again() -> None:
    experiment, at = an_experiment(), day_start(START, CHICAGO) + 60 * HOUR
    silent = {START + timedelta(days=k) for k in (3, 4, 5)}
    gap = [r for r in a_log(experiment) if not (isinstance(r, Assignment) and r.day in silent)]
    pause, resume = asked("pause", "paused", at), asked("resume", "running", at + 72 * HOUR)
    released = [r for m in ("m0", "m1") for r in on_control(experiment, m, at + 10 * HOUR, START + timedelta(days=3))]
    log = [*gap, pause, *released, resume]
    assert verify(published(experiment), log) == ()
    forged = change(log, "m1/p0", 8, lambda r: ())
    assert said(verify(published(experiment), forged)) == [("missing", "m1/p0", 8)]


def test_an_order_may_be_carried_out_by_a_clock_that_is_a_little_behind_but_not_before_it_was_given() -> None:
    experiment, at = an_experiment(), day_start(START, CHICAGO) + 30 * HOUR
    killed = [r for m in ("m0", "m1") for r in on_control(experiment, m, at)]
    for seconds, kinds in ((2, set()), (3600, {"altered"})):
        log = [*a_log(experiment, 2), asked("kill", "stopped", at + timedelta(seconds=seconds)), *killed]
        found = verify(published(experiment), log, through=START + timedelta(days=9))
        assert {d.kind for d in found} - {"missing"} == kinds


def test_a_forged_release_and_an_arm_drawn_after_the_stop_are_named() -> None:
    experiment = an_experiment()
    edit = {"arm": "control", "planned_arm": "control", "reason": Reason(code="released"), "block": -1}
    forged = change(a_log(experiment), "m0/p1", 3, lambda r: (r.model_copy(update=edit),))
    (found,) = verify(published(experiment), forged)
    assert (found.kind, found.subject, "nobody had asked for" in found.detail) == ("altered", "m0/p1", True)

    stop = asked("stop", "stopping", day_start(START, CHICAGO) + 60 * HOUR)
    late = verify(published(experiment), [*a_log(experiment, 5), stop])
    assert {(d.kind, d.day) for d in late} == {("altered", START + timedelta(days=k)) for k in (3, 4)}
    assert len(late) == 12


def test_an_arm_that_a_blackout_keeps_over_the_end_is_no_difference() -> None:
    experiment = an_experiment()

    def kept(record: Assignment) -> Sequence[Message]:
        reason = Reason(code="blackout", detail="b1")
        return (record.model_copy(update={"arm": "cheap", "reason": reason}),)

    log = change(a_log(experiment), "m0/p1", 14, kept)
    assert verify(published(experiment), log) == ()
