"""How long the controller takes to decide and to lay out, and what randomisation points cost in risk.

    python -m benchmarks.controller.controller [--json]

Decides one flip of 100,000 units, lays out random days for 2,000 clusters x 365 days, in this process and as
`flipside design` from its start to its end, and prints the risk table. Wanted: a flip in 1.5 s, a design in 5 s.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from controller.decisions.decide import Decision, decide
from controller.decisions.roster import roster
from controller.definition.experiment import Arm, Experiment, Market, PriceRule
from controller.messages.inputs import CatalogEntry
from controller.randomisation.randomisation_points import optimal_points, risk, search
from controller.schedule.calendar import calendar
from controller.schedule.due import MarketPlan
from controller.time.periods import day_start

ZONE = "America/Chicago"
START = date(2027, 3, 1)


def an_experiment(units: tuple[str, ...], days: int) -> Experiment:
    return Experiment(
        name="bench",
        currency="USD",
        units=units,
        markets=(Market(name="m", time_zone=ZONE),),
        arms=(Arm(name="control"), Arm(name="cheaper", price=PriceRule(percent=Decimal(-10)))),
        start=START,
        days=days,
        seed="1",
    )


def best_of(runs: int, work: Callable[[], Any]) -> float:
    """The least CPU time of several runs, in seconds: the machine may be shared."""
    times = []
    for _ in range(runs):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def decide_one_flip(units: int) -> dict[str, float]:
    names = tuple(f"m/p{k:06d}" for k in range(units))
    layout = roster(an_experiment(names, 28))
    catalog = {
        unit: CatalogEntry(unit=unit, time_zone=ZONE, currency="USD", list_price_minor=200 + k % 300)
        for k, unit in enumerate(names)
    }
    now = day_start(START, ZONE) - timedelta(minutes=30)

    def work() -> list[Decision]:
        return list(decide(layout, {"m": MarketPlan()}, now, catalog))

    seconds = best_of(5, work)
    tracemalloc.start()
    decisions = work()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(decisions[0].flip.proposals) == units
    return {"units": units, "cpu_seconds": seconds, "bytes_a_unit": held / units, "peak_bytes_a_unit": peak / units}


def lay_out(clusters: int, days: int) -> dict[str, float]:
    experiment = an_experiment(tuple(f"m/p{k:05d}" for k in range(clusters)), days)
    return {"clusters": clusters, "days": days, "cpu_seconds": best_of(3, lambda: calendar(experiment))}


def children_cpu() -> float:
    """CPU seconds of the processes that have ended: on a shared machine, what the wall clock would show alone."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def design_command(clusters: int, days: int) -> dict[str, float]:
    """Wall time of `flipside design` from the start of its process, imports and printing included; best of three."""
    experiment = an_experiment(tuple(f"m/p{k:05d}" for k in range(clusters)), days)
    seconds: dict[str, float] = {}
    with TemporaryDirectory(prefix="flipside-bench-") as folder:
        file = Path(folder) / "definition.json"
        file.write_text(experiment.model_dump_json(exclude={"markets"}))
        for form, arguments in (("table", []), ("json", ["--json"])):
            command = [sys.executable, "-m", "flipside", "design", str(file), *arguments]
            walls, cpus = [], []
            for _ in range(3):
                began, used = time.perf_counter(), children_cpu()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                walls.append(time.perf_counter() - began)
                cpus.append(children_cpu() - used)
            seconds |= {f"{form}_wall_seconds": min(walls), f"{form}_cpu_seconds": min(cpus)}
    return {"clusters": clusters, "days": days, **seconds}


def risks(days: int, m: int) -> list[dict[str, Any]]:
    daily, threes = tuple(range(1, days + 1)), tuple(range(1, days + 1, 3))
    rows: dict[str, tuple[int, ...]] = {
        "optimal": optimal_points(days, m),
        "flip daily": daily,
        "blocks of 3": threes,
        "weekly": tuple(range(1, days + 1, 7)),
        "search, no weekends": search(days, m, forbidden=weekends(days)).points,
    }
    best = search(days, m).risk
    found = {name: risk(points, days, m) for name, points in rows.items()}
    return [
        {"points": name, "coins": len(points), "risk_x100": 100 * found[name], "ratio": found[name] / best}
        for name, points in rows.items()
    ]


def weekends(days: int) -> set[int]:
    return {day for day in range(1, days + 1) if day % 7 in (6, 0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = {
        "decide": decide_one_flip(100_000),
        "design": lay_out(2_000, 365),
        "command": design_command(2_000, 365),
        "risk_T120_m2": risks(120, 2),
    }
    if given.json:
        print(json.dumps(found))
        return
    d, c, w = found["decide"], found["design"], found["command"]
    assert isinstance(w, dict)
    assert isinstance(d, dict)
    assert isinstance(c, dict)
    print(
        f"decide {d['units']:,} units of one flip: {d['cpu_seconds']:.2f} s CPU, {d['bytes_a_unit']:.0f} bytes a unit "
        f"held, {d['peak_bytes_a_unit']:.0f} at the peak"
    )
    print(f"lay out {c['clusters']:,} clusters x {c['days']} days: {c['cpu_seconds']:.2f} s CPU")
    print(
        f"flipside design, {w['clusters']:,} clusters x {w['days']} days: {w['table_wall_seconds']:.2f} s from start "
        f"to end ({w['table_cpu_seconds']:.2f} s CPU), {w['json_wall_seconds']:.2f} s with --json "
        f"({w['json_cpu_seconds']:.2f} s CPU)"
    )
    print("worst-case risk, T = 120, m = 2 (x B^2 / 100)")
    for row in found["risk_T120_m2"]:
        assert isinstance(row, dict)
        print(f"  {row['points']:<22}{row['coins']:>4} coins {row['risk_x100']:>8.2f} {row['ratio']:>6.2f} x best")


if __name__ == "__main__":
    main()
