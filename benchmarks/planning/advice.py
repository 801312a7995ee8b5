"""Does the advisor foretell the standard errors that replayed experiments then show?

    python -m benchmarks.planning.advice FOLDER             # advisor against replays in arrays
    python -m benchmarks.planning.advice FOLDER --whole 3   # and 3 whole replays of each design

The advisor sees the history up to the start of the experiment. Replays then play the weeks that follow, as ``flipside
replay`` does: production draw, production analysis, sales rounded as a shop sells them. Beside it the same comparison
where the advisor knows those very weeks: what is left there is the advisor's own error, not the future's.
"""

import argparse
import asyncio
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.planning.advice import DesignAdvice, Question
from analysis.planning.advise import advise
from analysis.planning.candidates import Candidate, Constraints, experiment_of
from analysis.planning.rehearsal import History, Truth
from benchmarks.replays.replay_designs import estimate, panel
from controller.definition.experiment import Experiment
from flipside.replay.environment import ReplayOptions, run_replay
from flipside.replay.fitted_definition import fit
from flipside.replay.plan import FIRST_DAY
from flipside.sales_history.history import History as Sales
from flipside.sales_history.history import read_history
from flipside.sales_history.tables import read_sales

KINDS = ("random_days", "blocked_switchback", "crossover", "time_bound", "staggered_rollout")
#: what the standard error may be off by
ALLOWED = 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One design: what was foretold, and what came."""

    design: str
    #: by the history before the experiment, and by the very weeks of it
    foretold: float
    #: the former on the quietest and the wildest part of that history
    foretold_range: tuple[float, float]
    known: float
    #: as the replays publish it, and the standard deviation of their estimates with its Monte-Carlo error
    replayed: float
    scatter: float
    scatter_error: float
    #: as whole replays publish it; None where none were asked for
    whole: float | None = None


def definition(design: DesignAdvice, history: History, seed: str) -> Experiment:
    """The advised design as an owner would hand it to a replay."""
    candidate = Candidate(design.name, design.kind, design.definition, design.periods)
    return experiment_of(candidate, history.units, history.clusters, "USD").model_copy(update={"seed": seed})


def compared(
    folder: Path, weeks: int, runs: int, effect: float, carryover: int, whole: int, only: Collection[str] = ()
) -> Iterator[Row]:
    """Every design, on the last ``weeks`` of the history, with as many before them as the pre-period."""
    everything, sales = read_sales(folder), read_history(folder)
    last = len(everything.outcome)
    before = last - weeks
    question = Question(Constraints(weeks, 7, carryover, kinds=KINDS), Truth(effect), runs)
    tail = slice(before - weeks, last)
    foretold = advise(_rows(everything, slice(0, before)), question, jobs=-1)
    known = {
        design.name: design
        for design in advise(_rows(everything, tail), replace(question, before=weeks), jobs=-1).designs
    }
    played = Sales(sales.catalog, sales.periods[tail])
    sold, rng = panel(played), np.random.default_rng(1)
    for design in foretold.designs:
        if only and design.name not in only:
            continue
        again = known[design.name]
        if design.se is None or again.se is None or design.refused or design.se_range is None:
            continue
        found = []
        for seed in range(runs):
            fitted = fit(definition(design, everything, f"replay-{seed}"), played, FIRST_DAY, None, weeks)
            one = estimate(fitted, sold, effect, rng)
            assert one is not None
            found.append((one.value, one.se))
        value, se = np.array(found).T
        row = Row(
            design.name, design.se, design.se_range, again.se, float(np.sqrt((se**2).mean())), float(value.std(ddof=1)),
            float(value.std(ddof=1) / (2 * (runs - 1)) ** 0.5),
        )  # fmt: skip
        yield replace(row, whole=_whole(design, everything, played, weeks, effect, whole)) if whole else row


def _rows(history: History, rows: slice) -> History:
    return replace(history, outcome=history.outcome[rows], periods=history.periods[rows])


def _whole(design: DesignAdvice, history: History, played: Sales, before: int, effect: float, count: int) -> float:
    errors = []
    for seed in range(count):
        chosen = f"replay-{seed}"
        options = ReplayOptions(effect, chosen, definition=definition(design, history, chosen), before=before)
        result = asyncio.run(run_replay(played, options))
        if result.se is None or result.violations:
            raise SystemExit(f"{design.name}, {chosen}: {result.reason_absent}, {result.violations} violations")
        errors.append(result.se)
    return float(np.sqrt(np.mean(np.square(errors))))


def main() -> None:
    """Run from the command line; exit code 1 where an advisor that knows the weeks is off by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of sales")
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--runs", type=int, default=100, help="rehearsals and replays of each design")
    parser.add_argument("--effect", type=float, default=-0.10)
    parser.add_argument("--carryover", type=int, default=1, help="weeks that are washed out")
    parser.add_argument("--whole", type=int, default=0, help="whole replays of each design, through Kafka and Redis")
    parser.add_argument("--design", action="append", help="only this design, by the name in the table; repeatable")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    rows = list(
        compared(
            chosen.folder, chosen.weeks, chosen.runs, chosen.effect, chosen.carryover, chosen.whole, chosen.design or ()
        )
    )
    table = Table("design", "foretold", "on parts", "known weeks", "replayed", "scatter", "± MC", "foretold / replayed",
                  "known / replayed", "whole replays")  # fmt: skip
    for row in rows:
        table.add_row(
            row.design, f"{row.foretold:.4f}", "{:.4f} to {:.4f}".format(*row.foretold_range),
            *(f"{v:.4f}" for v in (row.known, row.replayed, row.scatter, row.scatter_error)),
            f"{row.foretold / row.replayed:.2f}", f"{row.known / row.replayed:.2f}",
            "-" if row.whole is None else f"{row.whole:.4f}",
        )  # fmt: skip
    Console(width=150).print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    off = [row.design for row in rows if not 1 - ALLOWED <= row.known / row.replayed <= 1 + ALLOWED]
    raise SystemExit(f"off by more than {ALLOWED:.0%}: {', '.join(off)}" if off else 0)


if __name__ == "__main__":
    main()
