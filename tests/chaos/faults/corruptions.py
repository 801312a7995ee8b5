"""One corruption of a calm history for each rule, as a fault would leave it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.evidence.calm_history import (
    ARMS,
    DAYS,
    HOUR,
    PACE,
    UNITS,
    arm_of,
    day,
    entry,
    midnight,
    number_of,
    said,
)
from tests.chaos.evidence.evidence import Evidence, Look, Window, Write, instant


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
        at_topic: dict[str, Any] = {topic: entries}
        evidence = replace(evidence, **at_topic)
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
    kept = [entry for entry in e.log if entry.told["id"] != gone]
    return replace(e, log=kept, assignments=kept)


def decided_though_reported(e: Evidence) -> Evidence:
    body = {"market": "berlin", "first_day": str(day(1)), "last_day": str(day(1))}
    return replace(e, log=[*e.log, entry("undelivered", body, midnight("berlin/tea", 1))])


def published_late(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.told["arm"] != "control" and number_of(x.told) == 1)
    body = e.log[k].told
    return said_changed(e, k, ("assignments",), real=PACE.real(midnight(body["unit"], 1)) + 0.2)


def begins_at_noon(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.told["arm"] == "control" and number_of(x.told) == 3)
    body = e.log[k].told
    return said_changed(e, k, effective_at=said(midnight(body["unit"], 3) + 12 * HOUR))


def decided_twice(e: Evidence) -> Evidence:
    again = replace(e.log[5], body={**e.log[5].told, "sequence": 99})
    return replace(e, log=[*e.log, again])


def written_by_a_zombie(e: Evidence) -> Evidence:
    return replace(e, writes=[Write(0, "claim", 0), Write(0, "claim", 7), Write(0, "outbox", 0)])


def epoch_from_nowhere(e: Evidence) -> Evidence:
    k = len(e.log) - 1
    unit = e.log[k].told["unit"]
    e = said_changed(e, k, epoch=5)
    return replace(e, states={**e.states, unit: (e.states[unit][0], 5, e.states[unit][2])})


def drawn_by_somebody_else(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.told["arm"] == "control")
    return said_changed(e, k, planned_arm="low", reason={"code": "blackout", "detail": ""})


def not_in_the_topic(e: Evidence) -> Evidence:
    k = next(k for k, x in enumerate(e.log) if x.told["arm"] == "control" and number_of(x.told) < DAYS - 1)
    return replace(e, assignments=[x for x in e.assignments if x is not e.log[k]])


def redis_is_behind(e: Evidence) -> Evidence:
    return replace(e, states={**e.states, "berlin/tea": ("control", 0, 1)})


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
    k = next(k for k, x in enumerate(e.log) if number_of(x.told) == 1 and x.told["arm"] != "control")
    begins = instant(e.log[k].told["effective_at"])
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
