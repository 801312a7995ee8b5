"""A million rows of receipts: read, summed and checked against a catalog; seconds, and the peak of the memory.

    python -m benchmarks.planning.read_sales                          # prints one JSON object
    python -m benchmarks.planning.read_sales --json benchmarks/results/read_sales.json

A process of its own reads a file as a till writes it: semicolons, decimal commas, a time of day, an id a row.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

STORES, PRODUCTS, DAYS = 40, 200, 365
START = date(2025, 1, 1)
SECONDS_ALLOWED, BYTES_ALLOWED = 15.0, 10**9

READ = """
import json, resource, sys, time
from pathlib import Path
begin = time.perf_counter()
from flipside.sales_history.columns import SalesColumns
from flipside.sales_history.own_sales import read_own
names = SalesColumns(store="filiale", product="artikel", time="zeit", quantity="menge", price="preis", id="bon")
own = read_own(Path(sys.argv[1]), columns=names, catalog=Path(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.perf_counter() - begin, "peak_bytes": peak, "units": len(own.catalog),
                  "pieces": float(own.periods.quantity[own.periods.quantity > 0].sum()), "notes": own.notes[:2]}))
"""


def write_receipts(path: Path, rows: int, rng: np.random.Generator) -> int:
    """A till's file; returns the pieces in it."""
    day = np.sort(rng.integers(0, DAYS, rows))
    store, product = rng.integers(0, STORES, rows), rng.integers(0, PRODUCTS, rows)
    quantity, second = 1 + rng.poisson(0.6, rows), rng.integers(0, 43_200, rows)
    days = [f"{START + timedelta(days=k):%d.%m.%Y}" for k in range(DAYS)]
    with path.open("w", encoding="utf-8") as file:
        file.write("bon;filiale;artikel;zeit;menge;preis\n")
        for row in range(rows):
            at = 28_800 + int(second[row])
            clock = f"{at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d}"
            price = f"{1 + product[row] % 9},{product[row] % 10}9"
            file.write(f"b{row};f{store[row]};a{product[row]};{days[day[row]]} {clock};{quantity[row]};{price}\n")
    return int(quantity.sum())


def write_catalog(path: Path) -> None:
    """Every product in every store."""
    units = (f"f{store}/a{product}" for store in range(STORES) for product in range(PRODUCTS))
    entry = {"time_zone": "Europe/Berlin", "currency": "EUR", "list_price_minor": 299}
    path.write_text("".join(json.dumps({"unit": unit, **entry}) + "\n" for unit in units))


def main() -> None:
    """Write, read in a process of its own, compare the sums, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sales, catalog = Path(folder) / "receipts.csv", Path(folder) / "catalog.jsonl"
        pieces = write_receipts(sales, arguments.rows, np.random.default_rng(1))
        write_catalog(catalog)
        runs = []
        for _ in range(arguments.runs):
            begin = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, "-c", READ, str(sales), str(catalog)], capture_output=True, text=True, check=True
            )
            found = json.loads(ended.stdout)
            if found["pieces"] != pieces:
                raise SystemExit(f"{found['pieces']} pieces were read, {pieces} written")
            runs.append({**found, "process_seconds": time.perf_counter() - begin})
        size = sales.stat().st_size
    middle = sorted(runs, key=lambda run: run["process_seconds"])[len(runs) // 2]
    report = {
        "benchmark": "read_sales",
        "rows": arguments.rows,
        "file_bytes": size,
        "units": middle["units"],
        "seconds": round(middle["process_seconds"], 2),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "runs": arguments.runs,
        "within": middle["process_seconds"] <= SECONDS_ALLOWED
        and max(run["peak_bytes"] for run in runs) <= BYTES_ALLOWED,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(report))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
