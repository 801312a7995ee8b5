"""The figures of docs/performance.md, written from what the benchmarks left in benchmarks/results/performance/.

    python -m benchmarks.report.performance_page                      # write the figures of the page from the
    committed files
    python -m benchmarks.report.performance_page --measure ingest     # run a benchmark first, and keep what it found

A file has the command, the machine with the date, the rows that the page shows, and what the benchmark itself printed
(``figures``). On the page they stand between two comments; all else of the page is written by hand.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.streams import all as streams
from benchmarks.streams.installation import machine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = Path(__file__).parents[1] / "results" / "performance"

#: what was measured, the figure, the target ("" for none)
Row = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module that prints JSON, with the arguments that the page quotes, and how its figures are spelled."""

    module: str
    arguments: tuple[str, ...]
    rows: Callable[[Any], Iterator[Row]]

    @property
    def command(self) -> str:
        return shlex.join(["python", "-m", f"benchmarks.{self.module}", *self.arguments])


def of_worker(shown: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for one in shown:
        taken, bar = one["taken"], one["bar"]
        figure = f"{taken['passed']:.2f} s, {taken['cpu']:.2f} s of CPU"
        yield one["what"].strip(), figure, "" if bar is None else f"{bar:g} s"


def of_report(shown: Mapping[str, Any]) -> Iterator[Row]:
    cpu = shown["first_cpu_seconds"], shown["report_cpu_seconds"]
    yield "the first report, which bundles Vega", f"{shown['first_seconds']} s, {cpu[0]} s of CPU", ""
    yield "any other", f"{shown['report_seconds']} s, {cpu[1]} s of CPU", "5 s"
    yield "of it, Python and its libraries alone", f"{shown['floor_seconds']} s", ""
    yield "the page", f"{shown['megabytes']} MB from {shown['unit_days']:,} unit-days", "3 MB"


def of_zeros(shown: Mapping[str, Any]) -> Iterator[Row]:
    for name, case in shown["cases"].items():
        day = case["first day"]
        figure = (
            f"{day['records']:,} records, {day['MB']:.1f} MB, {day['close']:.1f} s to close, "
            f"{day['fold']:.2f} s to decode and fold"
        )
        yield f"a day of {shown['units']:,} units, {name}", figure, ""


def of_controller(shown: Mapping[str, Any]) -> Iterator[Row]:
    decide, design, command = shown["decide"], shown["design"], shown["command"]
    yield f"one flip of {decide['units']:,} units decided", f"{decide['cpu_seconds']:.2f} s of CPU", "1.5 s"
    size = f"{design['clusters']:,} clusters x {design['days']} days"
    yield f"{size} laid out", f"{design['cpu_seconds']:.2f} s of CPU", "5 s"
    seconds = f"{command['table_cpu_seconds']:.2f} s of CPU"
    yield f"`flipside design` of {command['clusters']:,} clusters x {command['days']} days", seconds, ""


def of_store(shown: Mapping[str, Any]) -> Iterator[Row]:
    for name, one in shown["microseconds_per_unit"].items():
        if name not in {"flip, repeated", "dirty", "cleaned"}:
            yield name, f"{one['cpu']:.1f} + {one['server_cpu']:.1f} us", ""


def of_flips(shown: Mapping[str, Any]) -> Iterator[Row]:
    for one in shown["runs"]:
        seconds = f"{one['published_seconds']:.2f} s, held by a client after {one['held_seconds']:.2f} s"
        memory = f"worker {one['worker_mb']:.0f} MB, Redis {one['redis_mb']:.0f} MB"
        figure = f"{seconds}; skew {one['skew_ms']} ms; ready-made {one['peer_seconds']:.2f} s; {memory}"
        yield f"{one['units']:,} units", figure, f"{shown['bar_seconds']:g} s"


def of_streams(name: str) -> Callable[[Any], Iterator[Row]]:
    return lambda shown: (row[:3] for row in streams.PIECES[name].rows(shown))


BENCHMARKS = {
    "worker": Benchmark("worker.worker", (), of_worker),
    "report": Benchmark("report.report", (), of_report),
    "controller": Benchmark("controller.controller", (), of_controller),
    "zeros": Benchmark("streams.zeros", (), of_zeros),
    **{
        name: Benchmark(piece.module, piece.full, of_streams(name))
        for name, piece in streams.PIECES.items()
    },
    "store": Benchmark("streams.store", ("100000",), of_store),
    "flips": Benchmark("streams.flips", (), of_flips),
}  # fmt: skip


def measure(name: str) -> None:
    """Run a benchmark in a process of its own and keep what it found; raises SystemExit where it found nothing."""
    benchmark, begun = BENCHMARKS[name], machine()
    command = [sys.executable, "-m", f"benchmarks.{benchmark.module}", "--json", *benchmark.arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    # One that misses its own target ends with 1, and has printed by how much.
    if done.returncode not in (0, 1) or not lines or lines[-1][0] not in "{[":
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figures = json.loads(lines[-1])
    kept = {
        "benchmark": name,
        "command": benchmark.command,
        "machine": begun,
        "rows": list(benchmark.rows(figures)),
        "figures": figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def measured_on(kept: Mapping[str, Any]) -> str:
    """The machine and the date of some figures, for people."""
    of = kept["machine"]
    load = f", load {of['load']:g}" if of.get("load") is not None else ""
    return f"{of['date'][:10]}, {of['cores']} cores of an {of['processor']}{load}"


def shown(kept: Mapping[str, Any]) -> str:
    """Command, machine, date and figures of a benchmark, as the page has them."""
    bars = any(row[2] for row in kept["rows"])
    lines = ["| | measured | target |", "|---|---|---|"] if bars else ["| | measured |", "|---|---|"]
    lines += ["| " + " | ".join(row if bars else row[:2]) + " |" for row in kept["rows"]]
    table = "\n".join(line.replace("|  |", "| |") for line in lines)
    return f"`{kept['command']}`; {measured_on(kept)}:\n\n{table}"


def with_figures(document: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the figures that were found; raises KeyError where it asks for some that nobody measured."""
    return re.sub(
        r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)",
        lambda place: f"{place[1]}\n{shown(found[place[2]])}\n\n{place[3]}",
        document,
        flags=re.DOTALL,
    )


def committed() -> dict[str, dict[str, Any]]:
    """What stands in the folder of results."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", choices=BENCHMARKS, action="append", help="run this one first; repeatable")
    for name in parser.parse_args().measure or ():
        print(f"{name} ...", file=sys.stderr)
        measure(name)
    PAGE.write_text(with_figures(PAGE.read_text(), committed()))


if __name__ == "__main__":
    main()
