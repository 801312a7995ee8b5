"""What is counted: every sale of the topic once, and nothing thrown away."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from tests.chaos.evidence.evidence import Evidence, instant, of_kind


def sold(evidence: Evidence) -> tuple[dict[tuple[str, int], tuple[int, int]], set[tuple[int, int]]]:
    """The truth: (quantity, events) by unit and local day, each id once; and the places of what cannot be counted."""
    totals: dict[tuple[str, int], tuple[int, int]] = {}
    refused: set[tuple[int, int]] = set()
    heard: set[str] = set()
    for entry in sorted(evidence.sales, key=lambda e: (e.partition, e.offset)):
        if entry.body is None or entry.body["unit"] not in evidence.units:
            refused.add((entry.partition, entry.offset))
            continue
        if entry.body["id"] in heard:
            continue
        heard.add(entry.body["id"])
        unit = entry.body["unit"]
        day = evidence.day_of(unit.split("/")[0], instant(entry.body["occurred_at"])).toordinal()
        quantity, events = totals.get((unit, day), (0, 0))
        totals[unit, day] = (quantity + entry.body["quantity"], events + 1)
    return totals, refused


def _counted(evidence: Evidence) -> list[tuple[str, tuple[str, int], tuple[int, int], tuple[int, int]]]:
    """(where, unit-day, counted there, truth) for all that Redis and the panel say."""
    truth, _ = sold(evidence)
    rows = [
        ("Redis", cell, evidence.cells.get(cell, (0, 0)), total)
        for cell, total in truth.items()
        if cell[1] > evidence.sealed.get(cell[0].split("/")[0], 0)
    ]
    rows += [("Redis", cell, held, (0, 0)) for cell, held in evidence.cells.items() if cell not in truth]
    closed: dict[str, int] = {}
    for entry in of_kind(evidence.panel, "period-closed"):
        assert entry.body is not None
        day = date.fromisoformat(entry.body["day"]).toordinal()
        closed[entry.body["market"]] = max(day, closed.get(entry.body["market"], 0))
    latest: dict[tuple[str, int], Mapping[str, Any]] = {}
    for entry in of_kind(evidence.panel, "unit-day"):
        assert entry.body is not None
        cell = (entry.body["unit"], date.fromisoformat(entry.body["day"]).toordinal())
        # Whoever was replaced may say what it had counted after its successor did: of one revision, more events stand.
        if cell not in latest or _standing(entry.body) >= _standing(latest[cell]):
            latest[cell] = entry.body
    for cell in sorted(truth.keys() | latest.keys()):
        if cell[1] <= closed.get(cell[0].split("/")[0], 0):
            row = latest.get(cell)
            said = (0, 0) if row is None else (row["quantity"], row["events"])
            rows.append(("panel", cell, said, truth.get(cell, (0, 0))))
    return rows


def _standing(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["revision"], row["events"]


def sales_lost(evidence: Evidence) -> list[str]:
    """Every sale on the topic is counted, in Redis and in the panel of closed days."""
    return _differences(evidence, lambda counted, truth: counted < truth)


def sales_doubled(evidence: Evidence) -> list[str]:
    """No sale is counted twice."""
    return _differences(evidence, lambda counted, truth: counted > truth)


def _differences(evidence: Evidence, wrong: Callable[[int, int], bool]) -> list[str]:
    return [
        f"{where}, {unit} on {date.fromordinal(day)}: (pieces, events) {counted}, in truth {truth}"
        for where, (unit, day), counted, truth in _counted(evidence)
        if wrong(counted[0], truth[0]) or wrong(counted[1], truth[1])
    ]


def dead_letters(evidence: Evidence) -> list[str]:
    """What cannot be counted is kept with its origin; what can be is not rejected."""
    _, refused = sold(evidence)
    kept = {
        (int(entry.headers["ce_originpartition"]), int(entry.headers["ce_originoffset"]))
        for entry in evidence.dead_letters
        if entry.headers.get("ce_origintopic", "").endswith("pricing.sale.v1")
    }
    return [
        f"the record {place} of sales cannot be counted, and is no dead letter" for place in sorted(refused - kept)
    ] + [f"the record {place} of sales is a dead letter, though it can be counted" for place in sorted(kept - refused)]
