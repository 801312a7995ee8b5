"""Every measurement of the streams, one after the other, as one JSON and one table: ``make bench-streams``.

Run: python -m benchmarks.streams.all [--only NAME ...] [--short] [--json] [--write FILE]. Each piece is a module of
its own
that can be run by itself, in a process of its own here; each has a peer or a bare loop in the same run, and none takes
two minutes on a quiet machine of two cores. ``--short`` takes sizes that say only that the piece works.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.streams.installation import machine

#: what was measured, the figure, what it must be at least or at most ("" for nothing), whether it is
Row = tuple[str, str, str, bool]
TIMEOUT_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Piece:
    """A module of benchmarks/, with the sizes that figures are quoted from and those of a smoke test."""

    module: str
    full: tuple[str, ...]
    short: tuple[str, ...]
    rows: Callable[[dict[str, Any]], Iterator[Row]]


def ingest(shown: dict[str, Any]) -> Iterator[Row]:
    for name, one in shown["summary"].items():
        rate = f"{one['events_per_second_per_core']:,.0f} sales a second and core"
        if not name.startswith("Flipside"):
            yield f"sale ingest: {name}", rate, "", True
            continue
        faust, bare = one["times_faust"], one["times_bare"]
        figure = f"{rate}; {faust:.1f} of a Faust agent, {bare:.2f} of the bare loop"
        yield f"sale ingest: {name}", figure, "12 and .4", faust >= 12 and bare >= 0.4


def latency(shown: dict[str, Any]) -> Iterator[Row]:
    for one in shown["runs"]:
        whole = one["seen"] == one["triggers"]
        figure = (
            f"p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms ({one['seen']} of {one['triggers']} triggers); "
            f"a bare hop p99 {one['hop_p99_ms']:.1f} ms"
        )
        yield f"rival's price to the client at {one['rate']:,}/s", figure, "p99 50 ms", whole and one["p99_ms"] <= 50


def flips(shown: dict[str, Any]) -> Iterator[Row]:
    for one in shown["runs"]:
        figure = (
            f"published in {one['published_seconds']:.2f} s, held by a client in {one['held_seconds']:.2f} s, "
            f"skew {one['skew_ms']} ms; ready-made records {one['peer_seconds']:.2f} s; "
            f"worker {one['worker_mb']:.0f} MB, Redis {one['redis_mb']:.0f} MB"
        )
        same = one["differing"] == 0 == one["skew_ms"]
        bar = f"{shown['bar_seconds']:g} s, skew 0"
        yield f"flips of {one['units']:,} units", figure, bar, same and one["published_seconds"] <= shown["bar_seconds"]


def rebuild(shown: dict[str, Any]) -> Iterator[Row]:
    seconds = shown["seconds_for_10000_units"]
    figure = f"{seconds:.2f} s for 10,000 units; a bare reader {shown['bare_reader_seconds']:.2f} s"
    yield f"rebuild of {shown['units']:,} units", figure, "5 s", seconds <= 5 and not shown["differences_afterwards"]


def workers(shown: dict[str, Any]) -> Iterator[Row]:
    for one in shown["runs"]:
        rates = f"{one['events_a_second']:,.0f} sales a second, {one['events_a_second_and_core']:,.0f} a core"
        yield f"{one['workers']} workers", rates, "", True


def client(shown: dict[str, Any]) -> Iterator[Row]:
    for kind, found in shown["look_up"].items():
        nanoseconds = found["arm_int_ns"]
        yield f"look-up, {kind} units", f"{nanoseconds:.0f} ns", "1000 ns", nanoseconds <= 1000
    load = shown["load"]["client"]["seconds"]
    figure = f"{load:.2f} s, {shown['load_ratio_to_bare_loop']:.2f} of a bare loop"
    yield f"load of {shown['units']:,} assignments", figure, "3 s", load <= 3


def store(shown: dict[str, Any]) -> Iterator[Row]:
    for name, one in shown["microseconds_per_unit"].items():
        yield f"store: {name}", f"{one['cpu']:.1f} us a unit, and {one['server_cpu']:.1f} of the server", "", True


def exact(shown: dict[str, Any]) -> Iterator[Row]:
    figure = f"{shown['counted']:,} counted, {shown['records_a_second']:,} records a second, exact: {shown['exact']}"
    yield f"{shown['sent']:,} bad sales", figure, "exact", shown["exact"]


PIECES = {
    "latency": Piece(
        "streams.latency",
        (),
        ("--rates", "200", "--seconds", "3", "--units", "600", "--sales", "50", "--warm-up", "10"),
        latency,
    ),
    "flips": Piece("streams.flips", (), ("--units", "500"), flips),
    "ingest": Piece("streams.ingest", ("--repeat", "3"), ("--events", "5000", "--repeat", "1"), ingest),
    "workers": Piece("streams.workers", (), ("--workers", "1", "2", "--events", "2000"), workers),
    "rebuild": Piece("streams.rebuild", ("10000",), ("200", "--days", "7", "--at-once"), rebuild),
    "client": Piece("client.client", (), ("--units", "2000", "--repeat", "1"), client),
    "store": Piece("streams.store", ("100000",), ("1000",), store),
    "exact": Piece("streams.exact", ("200000", "--days", "10"), ("4000", "--days", "10"), exact),
}


def run(name: str, short: bool) -> dict[str, Any]:
    """One piece in a process of its own; raises SystemExit with what it said where it gives no figures."""
    piece = PIECES[name]
    command = [sys.executable, "-m", f"benchmarks.{piece.module}", "--json", *(piece.short if short else piece.full)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    lines = done.stdout.strip().splitlines()
    # One that misses its own bar ends with 1, and has said by how much.
    if done.returncode not in (0, 1) or not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def table(rows: Sequence[Row]) -> str:
    lines = ["| what | measured | must be | |", "| --- | --- | --- | --- |"]
    lines += [f"| {what} | {figure} | {bar} | {'' if good else 'MISSED'} |" for what, figure, bar, good in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PIECES, action="append", help="this piece; repeatable")
    parser.add_argument("--short", action="store_true", help="sizes of a smoke test: the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the JSON here as well")
    options = parser.parse_args(arguments)
    begun, found, rows = machine(), {}, list[Row]()
    for name in options.only or PIECES:
        print(f"{name} ...", file=sys.stderr)
        found[name] = run(name, options.short)
        rows += PIECES[name].rows(found[name])
    missed = [what for what, _, _, good in rows if not good]
    whole = {"machine": begun, "short": options.short, "missed": missed, "results": found}
    if options.write:
        options.write.write_text(json.dumps(whole, indent=1) + "\n")
    if options.json:
        print(json.dumps(whole))
    else:
        print(", ".join(f"{name}: {value}" for name, value in begun.items()), "", table(rows), sep="\n")
    return 1 if missed and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
