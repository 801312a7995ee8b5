"""Scores of markets that only judge, kept market by market: what ends a run loses nothing, and the next one goes on."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis.spillover.market import scenario

Score = dict[str, float]


def judging_seeds(markets: int, first: int | None = None) -> range:
    """So many seeds that no estimator was built on, from `first` on.

    Raises:
        SystemExit: the scenario has not so many.
    """
    lowest, last = scenario().judging_seeds
    seeds = range(first or lowest, (first or lowest) + markets)
    if seeds[0] < lowest or seeds[-1] > last:
        raise SystemExit(f"seeds {seeds[0]} to {seeds[-1]} are asked for: {lowest} to {last} judge")
    return seeds


def each_seed(seeds: range, score: Callable[[int], Score], path: Path | None, part: str) -> None:
    """The score of each seed, with means and their Monte-Carlo errors, as entry `part` of the file."""
    rows = {row["seed"]: row for row in read(path).get(part, {}).get("rows", [])}
    for seed in seeds:
        if seed not in rows:
            rows[seed] = {"seed": seed} | {name: round(value, 6) for name, value in score(seed).items()}
            told = summary([rows[one] for one in sorted(rows)])
            if path:
                write(path, read(path) | {part: told})
    told = summary([rows[seed] for seed in sorted(rows)])
    print(part, json.dumps({name: value for name, value in told.items() if name != "rows"}), flush=True)


def summary(rows: list[Score]) -> dict[str, object]:
    """Means, their errors, and the rows."""
    names = [name for name in rows[0] if name != "seed"]
    values = np.array([[row[name] for name in names] for row in rows])
    error = values.std(axis=0, ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else np.full(len(names), np.nan)
    return {
        "markets": len(rows),
        "mean": dict(zip(names, values.mean(axis=0).round(6).tolist(), strict=True)),
        "error": {name: None if np.isnan(e) else round(float(e), 6) for name, e in zip(names, error, strict=True)},
        "rows": rows,
    }


def read(path: Path | None) -> dict[str, dict[str, list[Score]]]:
    """What the file has; nothing where there is none."""
    held: dict[str, dict[str, list[Score]]] = json.loads(path.read_text()) if path and path.exists() else {}
    return held


def write(path: Path, held: object) -> None:
    """Whole or not at all, a row a line."""
    text = re.sub(r"\{[^{}]*\}", lambda row: " ".join(row.group().split()), json.dumps(held, indent=1))
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n")
    partial.replace(path)
