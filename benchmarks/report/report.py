"""The report of the orange juice replay: how long it takes, how large it is, and what a browser needs to draw it.

    python -m benchmarks.report.report [--replay DIR] [--repetitions 3] [--json]

DIR is what `flipside replay FOLDER --out DIR` wrote; without one, tables of the same size (83 stores, 11 brands, 121
days, three metrics) are made up. The command is timed as a user runs it, start of Python included: with an empty cache
folder, where Vega has to be bundled, and with what that left there. Beside it stands a process that only imports the
charts' library and bundles Vega.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from analysis.export.folder import experiments, read, write
from tests.analysis.browser import executable, see
from tests.analysis.outcomes import large

FLOOR = "import altair, vl_convert; vl_convert.javascript_bundle('window.embed = vegaEmbed;')"


@dataclass(frozen=True, slots=True)
class Measured:
    """Times are the best of the repetitions, in seconds."""

    unit_days: int
    #: with an empty cache folder, and with what it left there
    first_seconds: float
    report_seconds: float
    #: of all processes
    first_cpu_seconds: float
    report_cpu_seconds: float
    floor_seconds: float
    megabytes: float
    #: from the start of a fresh headless Chromium to the last picture; None where there is no browser
    browser_seconds: float | None
    #: lines on its console
    console: int | None


def best(command: list[str], repetitions: int, cache: Path, *, emptied: bool = False) -> tuple[float, float]:
    """The shortest run of a command, and the processor time of that run."""
    runs = []
    for _ in range(repetitions):
        if emptied:
            shutil.rmtree(cache, ignore_errors=True)
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"XDG_CACHE_HOME": str(cache)})
        took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        runs.append((took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return min(runs)


def measure(folder: Path, repetitions: int, workplace: Path) -> Measured:
    """Time the report of the only experiment of an export."""
    page = workplace / "report.html"
    command = [sys.executable, "-m", "flipside", "report", "--replay", str(folder), "--out", str(page)]
    cache = workplace / "cache"
    first = best(command, repetitions, cache, emptied=True)
    again = best(command, repetitions, cache)
    floor = best([sys.executable, "-c", FLOOR], repetitions, cache)
    started = time.perf_counter()
    seen = see(page, workplace / "profile") if executable() else None
    drawn = time.perf_counter() - started
    return Measured(
        unit_days=read("panel", folder, experiments(folder)[0], ["unit"]).num_rows,
        first_seconds=round(first[0], 2),
        report_seconds=round(again[0], 2),
        first_cpu_seconds=round(first[1], 2),
        report_cpu_seconds=round(again[1], 2),
        floor_seconds=round(floor[0], 2),
        megabytes=round(page.stat().st_size / 1e6, 2),
        browser_seconds=None if seen is None else round(drawn, 2),
        console=None if seen is None else len(seen.console),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", type=Path, help="an export of one experiment")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="flipside-report-") as name:
        workplace = Path(name)
        if given.replay is None:
            write(large(), workplace / "outcome")
        found = asdict(measure(given.replay or workplace / "outcome", given.repetitions, workplace))
    if given.json:
        print(json.dumps(found))
        return
    table = Table("what", "value", title="flipside report, one experiment (limits: 5 s, 3 MB)")
    for key, value in found.items():
        table.add_row(key.replace("_", " "), "no browser" if value is None else f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
