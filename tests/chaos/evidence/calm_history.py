"""A small history without any fault: four days of four units, as a chaos run would have seen it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from controller.randomisation.hash_scores import deal
from tests.chaos.evidence.evidence import Entry, Evidence, Fault, Look, Window, Write, first_instant
from tests.chaos.shop.pace import DAY, Pace

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
        entry("assignment", body | {"sequence": k + 1}, midnight(body["unit"], number_of(body)) - LEAD * HOUR + 60_000)
        for k, body in enumerate(bodies)
    ]
    first, last = midnight("tokyo/tea", 0), midnight("berlin/tea", DAYS)
    looks = []
    for t in range(first - 2 * HOUR, last, HOUR // 2):
        arms = tuple(shown(unit, t) for unit in UNITS)
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
        states={unit: state_of(unit, log) for unit in UNITS},
    )


def number_of(body: Mapping[str, Any]) -> int:
    return (date.fromisoformat(body["day"]) - START).days


def shown(unit: str, t: int) -> str | None:
    number = next((k for k in reversed(range(DAYS)) if midnight(unit, k) <= t < midnight(unit, k + 1)), None)
    return None if number is None else arm_of(unit, number)


def state_of(unit: str, log: list[Entry]) -> tuple[str, int, int]:
    body = next(e.body for e in reversed(log) if e.body and e.body["unit"] == unit)
    return body["arm"], body["epoch"], body["sequence"]
