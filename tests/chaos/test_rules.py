"""Each rule finds the fault that it is there for: a small history without any, and one corruption a rule."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from controller.assignment import deal
from tests.chaos.evidence import Entry, Evidence, Fault, Look, Window, Write, first_instant, instant, load, save
from tests.chaos.pace import DAY, Pace
from tests.chaos.report import announced, summary, table, takeovers, write
from tests.chaos.rules import RULES, judge
from tests.chaos.rules.reading import shard_of

ZONES = {"berlin": "Europe/Berlin", "tokyo": "Asia/Tokyo"}
UNITS = ("berlin/coffee", "berlin/tea", "tokyo/coffee", "tokyo/tea")
START, DAYS, PARTITIONS, LEAD = date(2025, 3, 29), 4, 4, 12
HOUR = 3_600_000
ORIGIN = datetime(2025, 3, 28, tzinfo=UTC)
PACE = Pace(1000.0, ORIGIN.timestamp(), DAY / 20)
EXPERIMENT = {
    "name": "prices",
    "seed": "a seed",
    "arms": [{"name": "control"}, {"name": "low"}, {"name": "high"}],
    "start": str(START),
    "days": DAYS,
    "lead_minutes": LEAD * 60,
}
ARMS = ("control", "low", "high")


def said(t: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)).isoformat().replace("+00:00", "Z")


def day(number: int) -> date:
    return START + timedelta(days=number)


def midnight(unit: str, number: int) -> int:
    return first_instant(day(number), ZONES[unit.split("/")[0]])


def arm_of(unit: str, number: int) -> str:
    return ARMS[deal("a seed", "prices", number, UNITS, EXACT_THIRDS)[unit]]


EXACT_THIRDS = (Fraction(1, 3),) * 3


def assignment(unit: str, number: int, sequence: int, **changed: Any) -> dict[str, Any]:
    effective = midnight(unit, number)
    return {
        "id": f"prices.1/{day(number)}/{unit}",
        "unit": unit,
        "day": str(day(number)),
        "arm": arm_of(unit, number),
        "planned_arm": arm_of(unit, number),
        "effective_at": said(effective),
        "expires_at": said(midnight(unit, number + 1)),
        "decided_at": said(effective - LEAD * HOUR),
        "epoch": 0,
        "sequence": sequence,
        "reason": {"code": "scheduled", "detail": ""},
    } | changed


def entry(kind: str, body: Mapping[str, Any] | None, t: int, offset: int = 0, partition: int = 0) -> Entry:
    kind = f"flipside.{kind}.v1" if kind else ""
    return Entry(partition, offset, PACE.real(t), None, kind, body)


def sale(number: int, unit: str, t: int) -> dict[str, Any]:
    return {"id": f"sale-{number}", "unit": unit, "occurred_at": said(t), "quantity": 2}


def calm() -> Evidence:
    """Four units over four days, nothing wrong: what each test corrupts."""
    bodies = sorted(
        (assignment(unit, number, 0) for number in range(DAYS) for unit in UNITS),
        key=lambda b: (b["decided_at"], b["id"]),
    )
    log = [
        entry("assignment", body | {"sequence": k + 1}, midnight(body["unit"], _number(body)) - LEAD * HOUR + 60_000)
        for k, body in enumerate(bodies)
    ]
    first, last = midnight("tokyo/tea", 0), midnight("berlin/tea", DAYS)
    looks = []
    for t in range(first - 2 * HOUR, last, HOUR // 2):
        arms = tuple(_shown(unit, t) for unit in UNITS)
        why = "".join(
            "n" if t < midnight(unit, 0) else "a" if arm else "l" for unit, arm in zip(UNITS, arms, strict=True)
        )
        for client, life in (("warm-0", 0), ("warm-1", 0), ("cold", t)):
            looks.append(Look(client, life, t, PACE.real(t) + 0.01, arms, why))
    sales = [entry("", sale(k, UNITS[k % 4], first + k * HOUR), first + k * HOUR, k) for k in range(24)]
    sales.append(entry("", None, first, len(sales)))
    cells: dict[tuple[str, int], tuple[int, int]] = {}
    for number in range(24):
        unit, t = UNITS[number % 4], first + number * HOUR
        cell = (unit, Evidence(PACE, 4, EXPERIMENT, ZONES, UNITS, (0, 0)).day_of(unit.split("/")[0], t).toordinal())
        pieces, events = cells.get(cell, (0, 0))
        cells[cell] = (pieces + 2, events + 1)
    panel = [
        entry("unit-day", {"unit": u, "day": str(date.fromordinal(d)), "quantity": q, "events": n, "revision": 0}, last)
        for (u, d), (q, n) in cells.items()
    ] + [entry("period-closed", {"market": market, "day": str(day(1))}, last) for market in ZONES]
    origin = {"ce_originpartition": "0", "ce_originoffset": "24", "ce_origintopic": "ns.pricing.sale.v1"}
    return Evidence(
        pace=PACE,
        partitions=PARTITIONS,
        experiment=EXPERIMENT,
        zones=ZONES,
        units=UNITS,
        judged=(first, last),
        looks=looks,
        log=log,
        assignments=log,
        ticks=[entry("ownership", {"kind": "ownership", "worker": "w1"}, first, 0, p) for p in range(PARTITIONS)],
        sales=sales,
        panel=panel,
        dead_letters=[replace(entry("dead-letter", None, last), headers=origin)],
        windows=[Window("quiet", "unit", "berlin/tea", last + HOUR, last + 9 * HOUR, 0.0)],
        faults=[Fault("worker SIGKILL", "w9", PACE.real(first), PACE.real(first) + 3.0, 1.5)],
        rebuilds=[("lost", 0.5)],
        writes=[Write(0, "claim", 0), Write(0, "outbox", 0)],
        cells=cells,
        states={unit: _state(unit, log) for unit in UNITS},
    )


def _number(body: Mapping[str, Any]) -> int:
    return (date.fromisoformat(body["day"]) - START).days


def _shown(unit: str, t: int) -> str | None:
    number = next((k for k in reversed(range(DAYS)) if midnight(unit, k) <= t < midnight(unit, k + 1)), None)
    return None if number is None else arm_of(unit, number)


def _state(unit: str, log: list[Entry]) -> tuple[str, int, int]:
    body = next(e.body for e in reversed(log) if e.body and e.body["unit"] == unit)
    return body["arm"], body["epoch"], body["sequence"]


# --- corruptions ------------------------------------------------------------------------------------------------------


def place_of(evidence: Evidence, wanted: Callable[[Look], bool]) -> int:
    return next(k for k, look in enumerate(evidence.looks) if wanted(look))


def look_changed(evidence: Evidence, k: int, unit: str, arm: str | None, why: str = "a") -> Evidence:
    looks, at = list(evidence.looks), UNITS.index(unit)
    old = looks[k]
    arms, letters = list(old.arms), list(old.why)
    arms[at], letters[at] = arm, why
    looks[k] = replace(old, arms=tuple(arms), why="".join(letters))
    return replace(evidence, looks=looks)


def said_changed(
    evidence: Evidence, k: int, topics: tuple[str, ...] = ("log", "assignments"), **changed: Any
) -> Evidence:
    for topic in topics:
        entries = list(getattr(evidence, topic))
        real = changed.get("real", entries[k].real)
        body = entries[k].body | {name: value for name, value in changed.items() if name != "real"}
        entries[k] = replace(entries[k], body=body, real=real)
        evidence = replace(evidence, **{topic: entries})
    return evidence


def other_arm(unit: str, number: int) -> str:
    return next(arm for arm in ARMS[1:] if arm != arm_of(unit, number))


def one_client_shows_another_arm(e: Evidence) -> Evidence:
    t = midnight("berlin/tea", 1)
    k = place_of(e, lambda look: look.t == t and look.client == "warm-1")
    return look_changed(e, k, "berlin/tea", other_arm("berlin/tea", 1))


def a_cold_client_shows_what_is_long_over(e: Evidence) -> Evidence:
    t = midnight("tokyo/tea", 2) + HOUR
    k = place_of(e, lambda look: look.t == t and look.client == "cold")
    return look_changed(e, k, "tokyo/tea", other_arm("tokyo/tea", 2))


def all_clients_miss_a_record(e: Evidence) -> Evidence:
    t = midnight("berlin/tea", 1)
    for k, look in enumerate(e.looks):
        if look.t == t:
            e = look_changed(e, k, "berlin/tea", None, "l") if arm_of("berlin/tea", 1) != "control" else e
    if arm_of("berlin/tea", 1) == "control":
        pytest.fail("the seed gives control: choose another day")
    return e


def an_arm_outlives_its_lease(e: Evidence) -> Evidence:
    last = max(look.t for look in e.looks) + HOUR
    arms = tuple(e.looks[-1].arms)
    return replace(e, looks=[*e.looks, Look("warm-0", 0, last + DAYS * HOUR, PACE.real(last), arms, "aaaa")])


def a_flip_inside_a_window(e: Evidence) -> Evidence:
    t = midnight("berlin/tea", 1)
    return replace(e, windows=[Window("sale", "market", "berlin", t - HOUR, t + HOUR, 0.0)])


def a_day_is_forgotten(e: Evidence) -> Evidence:
    gone = f"prices.1/{day(1)}/berlin/tea"
    kept = [entry for entry in e.log if entry.body["id"] != gone]
    return replace(e, log=kept, assignments=kept)


def decided_though_reported(e: Evidence) -> Evidence:
    body = {"market": "berlin", "first_day": str(day(1)), "last_day": str(day(1))}
    return replace(e, log=[*e.log, entry("undelivered", body, midnight("berlin/tea", 1))])


def published_late(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.body["arm"] != "control" and _number(x.body) == 1)
    body = e.log[k].body
    return said_changed(e, k, ("assignments",), real=PACE.real(midnight(body["unit"], 1)) + 0.2)


def begins_at_noon(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.body["arm"] == "control" and _number(x.body) == 3)
    body = e.log[k].body
    return said_changed(e, k, effective_at=said(midnight(body["unit"], 3) + 12 * HOUR))


def decided_twice(e: Evidence) -> Evidence:
    again = replace(e.log[5], body=e.log[5].body | {"sequence": 99})
    return replace(e, log=[*e.log, again])


def written_by_a_zombie(e: Evidence) -> Evidence:
    return replace(e, writes=[Write(0, "claim", 0), Write(0, "claim", 7), Write(0, "outbox", 0)])


def epoch_from_nowhere(e: Evidence) -> Evidence:
    k = len(e.log) - 1
    unit = e.log[k].body["unit"]
    e = said_changed(e, k, epoch=5)
    return replace(e, states=e.states | {unit: (e.states[unit][0], 5, e.states[unit][2])})


def drawn_by_somebody_else(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.body["arm"] == "control")
    return said_changed(e, k, planned_arm="low", reason={"code": "blackout", "detail": ""})


def not_in_the_topic(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.body["arm"] == "control" and _number(x.body) < DAYS - 1)
    return replace(e, assignments=[x for x in e.assignments if x is not e.log[k]])


def redis_is_behind(e: Evidence) -> Evidence:
    return replace(e, states=e.states | {"berlin/tea": ("control", 0, 1)})


def a_cell_changed(e: Evidence, by: int) -> Evidence:
    cell, (pieces, events) = next(iter(e.cells.items()))
    return replace(e, cells=dict(e.cells) | {cell: (pieces + 2 * by, events + by)})


def a_row_of_the_panel_is_missing(e: Evidence) -> Evidence:
    return replace(e, panel=[x for x in e.panel if x is not e.panel[0]])


def a_dead_letter_is_missing(e: Evidence) -> Evidence:
    return replace(e, dead_letters=[])


def a_good_sale_is_rejected(e: Evidence) -> Evidence:
    letter = e.dead_letters[0]
    return replace(
        e, dead_letters=[*e.dead_letters, replace(letter, headers=dict(letter.headers) | {"ce_originoffset": "3"})]
    )


def late_and_void(e: Evidence, by_hours: int = 0) -> Evidence:
    """The brokers had a day of a unit an hour after it began, when it is void; clients show it, nobody reports it."""
    k = next(k for k, x in enumerate(e.log) if _number(x.body) == 1 and x.body["arm"] != "control")
    begins = instant(e.log[k].body["effective_at"])
    by = datetime.fromtimestamp(PACE.real(begins + by_hours * HOUR), UTC).isoformat()
    late = replace(e.log[k], real=PACE.real(begins + HOUR), headers={"ce_announceby": by})
    log = [*e.log[:k], late, *e.log[k + 1 :]]
    return replace(e, log=log, assignments=log)


def announced_by_another_instant(e: Evidence) -> Evidence:
    return late_and_void(e, by_hours=2)


CORRUPTIONS: tuple[tuple[str, Callable[[Evidence], Evidence]], ...] = (
    ("one price", one_client_shows_another_arm),
    ("one price", a_cold_client_shows_what_is_long_over),
    ("as announced", all_clients_miss_a_record),
    ("fail safe", an_arm_outlives_its_lease),
    ("blackout", a_flip_inside_a_window),
    ("planned", a_day_is_forgotten),
    ("planned", decided_though_reported),
    ("ahead", published_late),
    ("ahead", announced_by_another_instant),
    ("as announced", late_and_void),
    ("planned", late_and_void),
    ("boundary", begins_at_noon),
    ("once", decided_twice),
    ("at rest", lambda e: replace(e, unrest="3 entries in the outbox of shard 0")),
    ("one writer", written_by_a_zombie),
    ("one writer", epoch_from_nowhere),
    ("draw", drawn_by_somebody_else),
    ("same everywhere", not_in_the_topic),
    ("same everywhere", redis_is_behind),
    ("sales lost", lambda e: a_cell_changed(e, -1)),
    ("sales lost", a_row_of_the_panel_is_missing),
    ("sales doubled", lambda e: a_cell_changed(e, 1)),
    ("dead letters", a_dead_letter_is_missing),
    ("dead letters", a_good_sale_is_rejected),
)


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
    """The first decision of a unit: control took its place, and whoever had held it published it all the same."""
    evidence = calm()
    k = next(k for k, e in enumerate(evidence.log) if e.body is not None and e.body["arm"] != "control")
    old = evidence.log[k]
    assert old.body is not None
    begins = midnight(old.body["unit"], _number(old.body))
    zombie = replace(old, real=PACE.real(begins + appended_after * HOUR))
    late = {"id": old.body["id"] + "/late", "arm": "control", "sequence": sequence}
    body = old.body | late | {"reason": {"code": "late", "detail": ""}}
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
    states = evidence.states | {first_treated(evidence)["unit"]: ("control", 0, 99)}
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
    again = entry("assignment", body | hour, instant(body["decided_at"]) + 2 * HOUR, 99)
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
    older = replace(row, offset=99, real=row.real + 9, body=row.body | {"quantity": 0, "events": 0})
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
