"""Each rule finds the fault that it is there for: a small history without any, and one corruption a rule."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from tests.chaos.evidence.calm_history import DAYS, HOUR, LEAD, PACE, UNITS, calm, day, entry, midnight, number_of, said
from tests.chaos.evidence.evidence import Entry, Evidence, Fault, Window, instant, load, save
from tests.chaos.evidence.report import announced, summary, table, takeovers, write
from tests.chaos.faults.corruptions import CORRUPTIONS, late_and_void, look_changed, place_of
from tests.chaos.rules import RULES, judge
from tests.chaos.rules.reading import shard_of


def test_a_calm_history_breaks_no_rule() -> None:
    assert judge(calm()) == {name: [] for name in RULES}


@pytest.mark.parametrize(("rule", "corrupt"), CORRUPTIONS)
def test_a_corrupted_history_breaks_the_rule_that_is_there_for_it(
    rule: str, corrupt: Callable[[Evidence], Evidence]
) -> None:
    assert judge(corrupt(calm()))[rule]


def test_every_rule_has_a_corruption_that_it_finds() -> None:
    assert {rule for rule, _ in CORRUPTIONS} == set(RULES)


def test_a_lapsed_lease_is_no_second_price() -> None:
    evidence = calm()
    k = place_of(evidence, lambda look: look.client == "warm-1" and look.t == midnight("berlin/tea", 1))
    assert not RULES["one price"](look_changed(evidence, k, "berlin/tea", None, "l"))


def test_a_day_that_is_reported_undelivered_is_no_fault() -> None:
    evidence = calm()
    gone = {f"prices.1/{day(1)}/{unit}" for unit in UNITS if unit.startswith("berlin")}
    kept = [e for e in evidence.log if e.body is None or e.body["id"] not in gone]
    body = {"market": "berlin", "first_day": str(day(1)), "last_day": str(day(1))}
    told = entry("undelivered", body, midnight("berlin/tea", 1) + 12 * HOUR)
    assert not RULES["planned"](replace(evidence, log=[*kept, told]))


def replaced_when_late(sequence: int, appended_after: int) -> Evidence:
    """The first decision of a unit: control took its place, and its owner published it all the same."""
    evidence = calm()
    k = next(k for k, e in enumerate(evidence.log) if e.body is not None and e.body["arm"] != "control")
    old = evidence.log[k]
    assert old.body is not None
    begins = midnight(old.body["unit"], number_of(old.body))
    zombie = replace(old, real=PACE.real(begins + appended_after * HOUR))
    late = {"id": old.body["id"] + "/late", "arm": "control", "sequence": sequence}
    body = {**old.body, **late, "reason": {"code": "late", "detail": ""}}
    log = [*evidence.log[:k], zombie, *evidence.log[k + 1 :], entry("assignment", body, begins + HOUR, offset=99)]
    return replace(evidence, log=log, assignments=log)


def test_what_was_replaced_before_it_came_late_is_no_fault() -> None:
    evidence = replaced_when_late(sequence=99, appended_after=2)
    assert [RULES[rule](evidence) for rule in ("ahead", "once")] == [[], []]


def test_what_came_late_before_it_was_replaced_is_one() -> None:
    assert RULES["ahead"](replaced_when_late(sequence=99, appended_after=0)) == []
    evidence = replaced_when_late(sequence=99, appended_after=2)
    *log, last = evidence.log
    unreplaced = replace(evidence, log=[*log, replace(last, real=last.real + 1.0)])
    assert RULES["ahead"](replace(unreplaced, assignments=unreplaced.log))


def test_what_is_void_and_reported_is_no_fault_where_nobody_shows_it() -> None:
    evidence = late_and_void(calm())
    void = next(e for e in evidence.log if e.headers)
    assert void.body is not None
    unit, place = void.body["unit"], UNITS.index(void.body["unit"])
    begins, ends = (instant(void.body[name]) for name in ("effective_at", "expires_at"))
    looks = [
        replace(
            look,
            arms=tuple(None if k == place and begins <= look.t < ends else arm for k, arm in enumerate(look.arms)),
            why="".join("l" if k == place and begins <= look.t < ends else why for k, why in enumerate(look.why)),
        )
        for look in evidence.looks
    ]
    withheld = {"market": unit.split("/")[0], "day": void.body["day"], "units": [unit]}
    log = [*evidence.log, entry("withheld", withheld, ends)]
    broken = judge(replace(evidence, looks=looks, log=log, assignments=log))
    assert {rule for rule, why in broken.items() if why} == set()


def test_what_replaces_a_late_decision_must_be_newer() -> None:
    assert RULES["once"](replaced_when_late(sequence=0, appended_after=2))


def on_the_log_alone(evidence: Evidence, identity: str) -> Evidence:
    """One decision, and no other, never came to the topic of assignments."""
    told = [e for e in evidence.log if e.body is None or e.body.get("id") != identity]
    return replace(evidence, assignments=told)


def first_treated(evidence: Evidence) -> dict[str, Any]:
    return next(dict(e.body) for e in evidence.log if e.body is not None and e.body["arm"] != "control")


def test_what_was_replaced_before_it_took_effect_need_not_be_everywhere() -> None:
    evidence = replaced_when_late(sequence=99, appended_after=2)
    lacking = on_the_log_alone(evidence, first_treated(evidence)["id"])
    states = {**evidence.states, first_treated(evidence)["unit"]: ("control", 0, 99)}
    assert RULES["same everywhere"](replace(lacking, states=states)) == []


def test_what_a_later_decision_of_its_day_replaced_was_to_be_shown_until_then() -> None:
    evidence = calm()
    body = first_treated(evidence)
    at = instant(body["effective_at"]) + HOUR
    killed = body | {"id": body["id"] + "/killed", "arm": "control", "sequence": 99, "effective_at": said(at)}
    replaced = replace(evidence, log=[*evidence.log, entry("assignment", killed, at, 99)])
    lacking = on_the_log_alone(replaced, body["id"])
    assert any("only in the log" in why for why in RULES["same everywhere"](lacking))


def decided_anew(epoch: int) -> Evidence:
    """Another owner decides again, an hour later, and both publish it."""
    evidence = calm()
    body = evidence.log[0].body
    assert body is not None
    hour = {"epoch": epoch, "sequence": 99, "decided_at": said(instant(body["decided_at"]) + HOUR)}
    again = entry("assignment", {**body, **hour}, instant(body["decided_at"]) + 2 * HOUR, 99)
    begins = PACE.real(instant(body["decided_at"]))
    loss = Fault("Redis flushed", "redis", begins + 0.01, begins + 0.02)
    log = [*evidence.log, again]
    return replace(evidence, log=log, assignments=log, faults=[loss])


def test_a_decision_that_redis_lost_may_be_made_anew_by_another_owner_and_only_then() -> None:
    evidence = decided_anew(epoch=5)
    assert RULES["once"](evidence) == []
    assert RULES["once"](replace(evidence, faults=[]))
    assert RULES["once"](decided_anew(epoch=0))
    assert RULES["ahead"](evidence) == []


def test_a_window_told_after_the_decision_forbids_nothing() -> None:
    t = midnight("berlin/tea", 1)
    late = PACE.real(t - LEAD * HOUR)
    assert not RULES["blackout"](replace(calm(), windows=[Window("late", "global", "", t - HOUR, t + HOUR, late)]))


def test_a_sale_that_was_sent_twice_counts_once() -> None:
    evidence = calm()
    again = replace(evidence.sales[0], offset=99)
    assert judge(replace(evidence, sales=[*evidence.sales, again])) == {name: [] for name in RULES}


def test_of_two_rows_of_one_revision_the_one_with_more_events_stands() -> None:
    evidence = calm()
    row = next(e for e in evidence.panel if e.kind == "flipside.unit-day.v1")
    assert row.body is not None
    older = replace(row, offset=99, real=row.real + 9, body={**row.body, "quantity": 0, "events": 0})
    assert RULES["sales lost"](replace(evidence, panel=[*evidence.panel, older])) == []


def test_the_checkers_partitioner_is_kafkas() -> None:
    for market in ("berlin", "tokyo", "a", "ab", "abc", "new-york-17", "sehr-weit-weg"):
        assert shard_of(f"{market}/tea", 7) == (murmur2(market.encode()) & 0x7FFFFFFF) % 7


def test_a_takeover_is_timed_from_the_loss_to_another_owner() -> None:
    owned = [
        Entry(0, 0, 10.0, None, "", {"kind": "ownership", "worker": "w1"}),
        Entry(0, 5, 23.5, None, "", {"kind": "ownership", "worker": "w2"}),
        Entry(1, 0, 10.0, None, "", {"kind": "ownership", "worker": "w2"}),
    ]
    faults = [Fault("worker SIGKILL", "w1", 20.0, 26.0), Fault("worker SIGSTOP", "w1", 15.0, 15.2)]
    assert takeovers(replace(calm(), ticks=owned, faults=faults), lease=2.0) == [3.5]


def test_the_delay_of_an_announcement_is_counted_from_when_it_was_due() -> None:
    minute = 60 / PACE.rate
    assert announced(calm()) == pytest.approx([minute] * 2 * DAYS)


def test_evidence_comes_back_from_its_file_and_the_table_names_every_rule(tmp_path: Path) -> None:
    evidence = calm()
    save(evidence, tmp_path / "evidence.json.gz")
    back = load(tmp_path / "evidence.json.gz")
    assert back == evidence
    text = table(summary(back, judge(back), 2.0, 7))
    assert all(f"{rule} " in text for rule in RULES)
    assert "seed 7" in text
    write(summary(back, judge(back), 2.0, 7), {"once": ["twice"]}, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["cases"] == {"once": ["twice"]}
    assert (tmp_path / "report.txt").read_text().startswith("seed 7, 16 s of faults, 1970-01-01")
