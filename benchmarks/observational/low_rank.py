"""Speed of matrix completion and of the doubly weighted estimator, with the peers in the same run.

    python -m benchmarks.observational.low_rank                  # all cases, ours and the peers'
    python -m benchmarks.observational.low_rank --cases mc_tall  # one case

``make bench-low_rank`` installs the peers first (requirements-bench.lock); each runs in a process of its own. Ratios
hold better than seconds. diff-diff's TROP is left out: one of the 27 triples takes it ten minutes.
"""

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from analysis.observational.estimators import low_rank
from analysis.observational.estimators.doubly_weighted import Penalties, doubly_weighted
from analysis.observational.estimators.doubly_weighted_cv import NUCLEAR_GRID, TIME_GRID, UNIT_GRID, cross_validate
from analysis.observational.estimators.matrix_completion import matrix_completion, penalty_path
from analysis.observational.estimators.row_pooling import pool_rows
from analysis.panel_data.panel import BoolArray, FloatArray

ROOT = Path(__file__).resolve().parents[2]
#: seconds after which the peer of the cross-validation is stopped and scaled up
PEER_BUDGET = 60.0
Row = dict[str, Any]


def factor_panel(n: int, t: int, n_treated: int, n_post: int) -> tuple[FloatArray, BoolArray]:
    """Four factors, unit levels, noise of 1, and an effect of 1 on a block."""
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(n, 4)) @ rng.normal(size=(4, t))
    Y += rng.normal(size=(n, t))
    Y += 3 * rng.normal(size=(n, 1))
    W = np.zeros((n, t), dtype=bool)
    W[:n_treated, t - n_post :] = True
    Y[W] += 1
    return Y, W


def prop99(data: Path) -> tuple[FloatArray, BoolArray]:
    """39 states x 31 years, California treated for the last 12."""
    with (data / "california_prop99.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["unit"], int(row["time"])))
    Y = np.array([float(row["packs_per_capita"]) for row in rows]).reshape(39, 31)
    return Y, np.array([row["treated"] == "1" for row in rows]).reshape(39, 31)


def median_of(run: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Median wall time of several runs, and the answer."""
    seconds, answer = [], None
    for _ in range(times):
        begin = time.perf_counter()
        answer = run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), answer


def peer(python: Path, task: str, **arrays: Any) -> tuple[float | None, Any]:
    """Seconds and answer of a peer, or None and why not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **arrays)
        script = ROOT / "benchmarks" / "observational" / "low_rank_peers.py"
        done = subprocess.run([python, script, task, path], capture_output=True, text=True, check=False)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["answer"]


def row(case: str, seconds: float, answer: Any, rival: str = "", other: tuple[float | None, Any] = (None, None)) -> Row:
    """One line of the table."""
    ratio = other[0] / seconds if other[0] else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "case": case,
        "seconds": seconds,
        "answer": answer,
        "peer": rival,
        "peer_seconds": other[0],
        "peer_answer": other[1],
        "ratio": ratio,
        "peak_gb_so_far": peak,
    }


def trop_cv(options: argparse.Namespace) -> list[Row]:
    """27 triples x 38 placebos on Prop 99."""
    Y, W = prop99(options.data)
    observed = np.ones_like(W)
    seconds, scores = median_of(lambda: cross_validate(Y, W, observed, n_jobs=2), 3)
    best = [scores.best.unit, scores.best.time, scores.best.nuclear]
    scaled = (Y - Y[~W].mean()) / Y[~W].std()
    grids = {"unit_grid": UNIT_GRID, "time_grid": TIME_GRID, "nuclear_grid": NUCLEAR_GRID}
    other = peer(options.peers, "trop_cv", Y=scaled, W=W, n_placebos=38, budget=PEER_BUDGET, **grids)
    return [row("TROP cross-validation, Prop 99, 27 triples x 38 placebos", seconds, best, "trop", other)]


def trop_point(options: argparse.Namespace) -> list[Row]:
    """One block-masked estimate at 1,100 x 114."""
    Y, W = factor_panel(1100, 114, 100, 14)
    penalties = Penalties(0.25, 0.1, 1.0)
    seconds, found = median_of(lambda: doubly_weighted(Y, W, np.ones_like(W), penalties, "block-masked"), 3)
    scaled = (Y - Y[~W].mean()) / found.scale
    triple = np.array([0.25, 0.1, 1.0])
    seconds_peer, effect = peer(options.peers, "trop_point", Y=scaled, W=W.astype(float), penalties=triple)
    other = (seconds_peer, effect * found.scale if seconds_peer else effect)
    return [row("TROP block-masked, 1,100 x 114", seconds, found.effect, "trop", other)]


def mc_small(options: argparse.Namespace) -> list[Row]:
    """Matrix completion at a fixed penalty, 1,100 x 114."""
    Y, W = factor_panel(1100, 114, 100, 14)
    penalty = 2 * 1.1 * (np.sqrt(1100) + np.sqrt(114)) / (~W).sum()
    seconds, found = median_of(lambda: matrix_completion(Y, W, np.ones_like(W), penalty), 3)
    other = peer(options.peers, "causaltensor_mc", Y=Y, W=W.astype(float), penalty=penalty)
    return [row("MC fixed penalty, 1,100 x 114", seconds, found.effect, "causaltensor", other)]


def mc_tall(_: argparse.Namespace) -> list[Row]:
    """Matrix completion at 100,000 x 365: one penalty, and the whole path with warm starts."""
    Y, W = factor_panel(100_000, 365, 5000, 65)
    penalty = 2 * 1.05 * (np.sqrt(100_000) + np.sqrt(365)) / (~W).sum()
    observed = np.ones_like(W)
    seconds, found = median_of(lambda: matrix_completion(Y, W, observed, penalty), 3)
    rows = [row("MC fixed penalty, 100,000 x 365", seconds, found.effect)]

    def path() -> list[float]:
        pooled = pool_rows(Y, ~W, np.zeros(len(Y), dtype=np.int64))
        panel, start, gaps = pooled.problem(pooled.mask)[0], None, []
        for value in penalty_path(pooled):
            fit = low_rank.solve(panel, float(value), start, 1e-6)
            start = fit.right
            gaps.append(fit.relative_gap)
        return [len(gaps), max(gaps)]

    seconds, answer = median_of(path, 1)
    rows.append(row("MC path of 19 penalties, 100,000 x 365 (fits, worst gap)", seconds, answer))
    seconds, found = median_of(lambda: matrix_completion(Y, W, observed), 1)
    rows.append(row("MC 5-fold cross-validation and fit, 100,000 x 365", seconds, found.effect))
    return rows


CASES = {"trop_cv": trop_cv, "trop_point": trop_point, "mc_small": mc_small, "mc_tall": mc_tall}


def main() -> None:
    """Run the cases, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "panels")
    parser.add_argument("--peers", type=Path, default=Path(sys.executable), help="the interpreter that has them")
    options = parser.parse_args()
    rows = [found for case in options.cases for found in CASES[case](options)]
    for found in rows:
        line = f"{found['case']:62}{found['seconds']:9.3f} s  {found['answer']}"
        if found["peer"]:
            took = "failed" if found["peer_seconds"] is None else f"{found['peer_seconds']:.2f} s"
            ratio = "" if found["ratio"] is None else f", ratio {found['ratio']:.0f}"
            line += f"  | {found['peer']}: {took}, {found['peer_answer']}{ratio}"
        print(line)
    print(f"peak memory of this process {rows[-1]['peak_gb_so_far']:.2f} GB")
    print(json.dumps(rows, default=float))


if __name__ == "__main__":
    main()
