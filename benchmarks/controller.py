"""How long the controller takes to decide and to lay out, and what randomisation points cost in risk.

    python -m benchmarks.controller [--json]

Decides one flip of 100,000 units, lays out random days for 2,000 clusters x 365 days, and prints the risk table.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from controller.calendar import calendar
from controller.decide import Decision, decide
from controller.events import CatalogEntry
from controller.experiment import Arm, Experiment, Market, PriceRule
from controller.periods import day_start
from controller.randomisation import optimal_points, risk, search
from controller.roster import roster
from controller.schedule import MarketPlan

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
    found = {"decide": decide_one_flip(100_000), "design": lay_out(2_000, 365), "risk_T120_m2": risks(120, 2)}
    if given.json:
        print(json.dumps(found))
        return
    d, c = found["decide"], found["design"]
    assert isinstance(d, dict)
    assert isinstance(c, dict)
    print(
        f"decide {d['units']:,} units of one flip: {d['cpu_seconds']:.2f} s CPU, {d['bytes_a_unit']:.0f} bytes a unit "
        f"held, {d['peak_bytes_a_unit']:.0f} at the peak"
    )
    print(f"lay out {c['clusters']:,} clusters x {c['days']} days: {c['cpu_seconds']:.2f} s CPU")
    print("worst-case risk, T = 120, m = 2 (x B^2 / 100)")
    for row in found["risk_T120_m2"]:
        assert isinstance(row, dict)
        print(f"  {row['points']:<22}{row['coins']:>4} coins {row['risk_x100']:>8.2f} {row['ratio']:>6.2f} x best")


if __name__ == "__main__":
    main()
