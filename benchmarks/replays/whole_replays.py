"""Each design through the whole system: real sales, a real Kafka, a real Redis, worker and analysis.

    python -m benchmarks.replays.whole_replays                              # every design, seeds 1 to 10, 40 weeks
    python -m benchmarks.replays.whole_replays --design crossover --seeds 2

Runs `flipside replay FOLDER --design FILE --weeks 40 --seed N` for each definition of examples/designs, and for
further ones over whole stores (those of `benchmarks.replays.replay_designs`). A table says how
often the interval missed the planted effect and how many promises were broken. Exit code 1 where a promise was broken,
a replay ended without an estimate, or a design missed more often than --most-misses.

Seeds are 1, 2, 3, ...: fixed beforehand. Of ten honest 95 % intervals, three or more miss with probability 1.2 %.
Long (about 20 s a replay on two quiet cores): what is done stands in --results and is not done again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.replays.replay_designs import DESIGNS, definition
from controller.definition.field_types import sha256_hex
from flipside.documents import read_experiment
from flipside.sales_history.history import History, read_history
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

EXAMPLES = Path("examples/designs")
RESULTS = Path(".cache/whole_replays.jsonl")
#: a broker keeps the topics of all its replays: each gets a fresh one after so many
REPLAYS_A_BROKER = 10
REPLAY_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Wanted:
    """One replay: a definition in a file, and a seed."""

    design: str
    file: Path
    seed: str
    weeks: int
    effect: float

    @property
    def key(self) -> str:
        """The same for the same definition, seed, weeks and effect."""
        return f"{self.design}/{sha256_hex(self.file.read_bytes())[:16]}/{self.seed}/{self.weeks}/{self.effect}"


@dataclass(frozen=True, slots=True)
class Row:
    """How one design did."""

    design: str
    replays: int
    misses: int
    #: replays that ended without an estimate
    without: int
    violations: int
    #: sales that were sent and not counted exactly once
    uncounted: int
    mean_estimate: float | None
    mean_se: float | None
    seconds: float


def definitions(history: History, folder: Path, chosen: Sequence[str]) -> dict[str, Path]:
    """Name -> file: those of examples/designs, and the variants over whole stores, written to ``folder``."""
    found = {file.stem: file for file in sorted(EXAMPLES.glob("*.yaml"))}
    for name in DESIGNS:
        file = folder / f"{''.join(c if c.isalnum() else '_' for c in name)}.json"
        file.write_text(definition(history, name, "1").model_dump_json(exclude_none=True))
        found[f"stores: {name}"] = file
    strangers = [name for name in chosen if name not in found]
    if strangers:
        raise SystemExit(f"no design {strangers[0]!r}; there are: {', '.join(found)}")
    for file in found.values():
        read_experiment(file)
    return {name: file for name, file in found.items() if not chosen or name in chosen}


def replay(folder: Path, wanted: Wanted, kafka: str, redis: str) -> Mapping[str, Any]:
    """What `flipside replay --json` says; raises RuntimeError with its words where it says nothing."""
    command = [
        sys.executable, "-m", "flipside", "replay", str(folder), "--design", str(wanted.file), "--weeks",
        str(wanted.weeks), "--seed", wanted.seed, "--effect", str(wanted.effect), "--kafka", kafka, "--redis", redis,
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=REPLAY_SECONDS, check=False)
    if done.returncode not in (0, 2) or not done.stdout.strip():
        raise RuntimeError(f"{wanted.design}, seed {wanted.seed}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said | {"key": wanted.key, "design": wanted.design, "seed": wanted.seed}


def missed(said: Mapping[str, Any]) -> bool:
    """Whether the interval leaves the planted effect out."""
    return said["ci_low"] is not None and not said["ci_low"] <= said["truth"] <= said["ci_high"]


def row_of(design: str, done: Sequence[Mapping[str, Any]]) -> Row:
    """A design's row."""
    told = [said for said in done if said["estimate"] is not None]
    return Row(
        design=design,
        replays=len(done),
        misses=sum(missed(said) for said in told),
        without=len(done) - len(told),
        violations=sum(said["violations"] for said in done),
        uncounted=sum(abs(said["events_in"] - said["events_counted"]) for said in done),
        mean_estimate=sum(said["estimate"] for said in told) / len(told) if told else None,
        mean_se=sum(said["se"] for said in told) / len(told) if told else None,
        seconds=sum(said["seconds"] for said in done) / max(1, len(done)),
    )


def run(folder: Path, todo: Sequence[Wanted], results: Path) -> Iterator[str]:
    """Do what is to be done and keep each result; yields what went wrong."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("replays"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=len(todo))
        for begin in range(0, len(todo), REPLAYS_A_BROKER):
            with Kafka() as kafka, RedisServer() as redis:
                for wanted in todo[begin : begin + REPLAYS_A_BROKER]:
                    bar.update(task, description=f"{wanted.design}, seed {wanted.seed}")
                    try:
                        said = replay(folder, wanted, kafka.address, redis.url)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        yield str(error)
                    else:
                        with results.open("a") as file:
                            file.write(json.dumps(said) + "\n")
                    bar.advance(task)


def read_results(results: Path) -> dict[str, Mapping[str, Any]]:
    """What earlier runs have done, by key."""
    if not results.exists():
        return {}
    return {said["key"]: said for said in map(json.loads, results.read_text().splitlines())}


def show(rows: Sequence[Row], weeks: int, effect: float, most: int) -> Table:
    """The table."""
    title = f"{weeks} weeks of sales, true effect {effect:+.1%} on units sold; at most {most} misses a design"
    table = Table(title=title)
    for column in ("design", "replays", "misses", "no estimate", "violations", "sales not counted once",
                   "mean estimate", "mean standard error", "seconds a replay"):  # fmt: skip
        table.add_column(column, justify="left" if column == "design" else "right")
    for row in rows:
        estimate = "" if row.mean_estimate is None else f"{row.mean_estimate:+.2%}"
        se = "" if row.mean_se is None else f"{row.mean_se:.2%}"
        table.add_row(
            row.design, str(row.replays), str(row.misses), str(row.without), str(row.violations), str(row.uncounted),
            estimate, se, f"{row.seconds:.0f}",
        )  # fmt: skip
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/orange_juice"))
    parser.add_argument("--design", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 1 to so many")
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--effect", type=float, default=-0.10)
    parser.add_argument("--most-misses", type=int, default=2, help="a design may miss so often")
    parser.add_argument("--results", type=Path, default=RESULTS, help="one line a replay; what is there is not redone")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")
    chosen = parser.parse_args(arguments)
    history = read_history(chosen.folder).first(chosen.weeks)
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        written = Path(stack.enter_context(TemporaryDirectory(prefix="flipside-designs-")))
        files = definitions(history, written, chosen.design)
        wanted = [
            Wanted(name, file, str(seed), chosen.weeks, chosen.effect)
            for name, file in files.items()
            for seed in range(1, chosen.seeds + 1)
        ]
        done = read_results(chosen.results)
        failed = list(run(chosen.folder, [w for w in wanted if w.key not in done], chosen.results))
        done = read_results(chosen.results)
        rows = [row_of(name, [done[w.key] for w in wanted if w.design == name and w.key in done]) for name in files]
    if chosen.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console(width=140).print(show(rows, chosen.weeks, chosen.effect, chosen.most_misses))
    for words in failed:
        print(words, file=sys.stderr)
    if failed or any(r.misses > chosen.most_misses or r.without or r.violations or r.uncounted for r in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
