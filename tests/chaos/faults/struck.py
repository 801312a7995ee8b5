"""``python -m tests.chaos.faults.struck [--json]``: an error at each named place, for one market, and what became of
it all.

Exit code 1 where anything else was touched, or the struck one is not named, or not on control by the rule.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache

from controller.decisions.kill_switches import suspended
from controller.definition.field_types import market_of
from controller.messages.events import Assignment
from tests.chaos.faults.evening import EXPERIMENTS, MIDNIGHT, Evening, evening
from tests.chaos.faults.morning import OTHERS, Morning, morning
from tests.chaos.faults.morning import STRUCK as STRUCK_EXPERIMENT
from tests.chaos.faults.strikes import PLACES, STRUCK, Place, Strike

#: after the last tick before the kill switch, and after it; and when the last lease ends that was given out before it
BEFORE_KILL, AFTER_KILL = MIDNIGHT + timedelta(hours=31, minutes=30), MIDNIGHT + timedelta(hours=33)
LEASES_END = MIDNIGHT + timedelta(days=2)


@cache
def calm_evening() -> Evening:
    return asyncio.run(evening())


@cache
def calm_morning() -> Morning:
    return morning()


def judged(place: Place) -> list[str]:
    """What is wrong once an error was planted at a place; nothing where all is as it should be."""
    strike = Strike(place.where, place.call)
    if place.kind == "analysis":
        return [*_morning(morning(strike))]
    found = asyncio.run(evening(strike))
    return [*_evening(place, found)]


def _morning(found: Morning) -> Iterator[str]:
    if not found.struck:
        yield "nothing was struck"
    yield from (f"{name} is not as ever" for name in OTHERS if found.of(name) != calm_morning().of(name))
    if {one.experiment for one in found.absent()} != {STRUCK_EXPERIMENT}:
        yield "its estimates are not absent with the reason"
    if not found.metrics.set_aside.labels("experiment", "analysis")._value.get():
        yield "no metric"
    if not any(line["event"] == "set aside" and line.get("experiment") == STRUCK_EXPERIMENT for line in found.log):
        yield "no log line"


def _evening(place: Place, found: Evening) -> Iterator[str]:
    if not found.struck:
        yield "nothing was struck"
    if found.of_others() != calm_evening().of_others():
        yield "other markets are not as ever"
    lines = [line for line in found.log if line["event"] == "set aside"]
    if not lines or any(line["place"] == "?" for line in lines):
        yield "no log line with the place"
    samples = [s for metric in found.metrics.set_aside.collect() for s in metric.samples if s.name.endswith("_total")]
    if not any(s.value and s.labels["kind"] == ("record" if place.kind == "record" else s.labels["kind"])
               for s in samples):  # fmt: skip
        yield "no metric"
    aside = suspended(found.set_aside(), {0: 1})
    if place.kind == "record":
        if not found.failed_letters() or aside:
            yield "no dead letter, or a market set aside for a record"
        if any((letter.key or b"").split(b"/")[0] != STRUCK.encode() for letter in found.failed_letters()):
            yield "a dead letter of another market"
        return
    if {(one.market, one.duty) for one in aside} != {(STRUCK, place.kind)}:
        yield f"the command does not name it: {aside}"
    for one in aside:
        for experiment in EXPERIMENTS:
            if one.experiment in ("", experiment.name):
                yield from _control(found, experiment.name, one.set_aside_at)


def _control(found: Evening, experiment: str, since: datetime) -> Iterator[str]:
    """Control at once; where that cannot be written, no lease ends later than those given out before."""
    units = {u for e in EXPERIMENTS if e.name == experiment for u in e.units if market_of(u) == STRUCK}
    late = any(line["event"] == "control when the lease ends" and line["experiment"] == experiment
               for line in found.log)  # fmt: skip
    if late:
        after = [m for m in found.messages("pricing.experiment.assignment.v1") if isinstance(m, Assignment)]
        if any(m.unit in units and m.arm != "control" and (m.expires_at or LEASES_END) > LEASES_END for m in after):
            yield f"{experiment}: a lease goes on"
        return
    at = BEFORE_KILL if since < BEFORE_KILL else AFTER_KILL
    shown = found.shown(STRUCK, at)
    if any(shown[unit] != "control" for unit in units):
        yield f"{experiment}: not on control at {at}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.faults.struck", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    given = parser.parse_args()
    began, rows = time.monotonic(), {place.name: (place.kind, judged(place)) for place in PLACES}
    failed = sum(1 for _, wrong in rows.values() if wrong)
    if given.json:
        told = {name: {"kind": kind, "wrong": wrong} for name, (kind, wrong) in rows.items()}
        print(json.dumps({"places": len(rows), "failures": failed, "by_place": told}, indent=1))
    else:
        for name, (kind, wrong) in rows.items():
            print(f"{kind:<10} {name:<50} {'; '.join(wrong) or 'the rest goes on'}")
        print(f"{len(rows)} places, {failed} failures, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
