"""Speed of the panel estimators, peers in the same run: ``python -m benchmarks.observational.panel [TASK ...]``.

Each task prints our median time, each peer's and the ratio; ``--json`` prints all of it as JSON on the last line.
``make bench-panel`` installs the peers first (requirements-bench.lock); each runs in a process of its own, and what
takes it less than two seconds is timed several times, and the median taken. Large tasks run in a process of their own,
whose peak memory is quoted.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from analysis.observational.bakeoff import bakeoff
from analysis.observational.estimators.did import did_standard_error, fit_did
from analysis.observational.estimators.synthetic_control import fit_synthetic_control
from analysis.observational.estimators.synthetic_did import fit_synthetic_did, placebo_synthetic_did
from analysis.observational.inference.jackknife import jackknife_se
from analysis.observational.panel_fit import fit_panel
from analysis.panel_data.panel import FloatArray, Panel
from analysis.panel_data.panel_files import read_panel
from benchmarks.observational import low_rank

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "panels"
PEER_TIMEOUT = 900
Result = TypeVar("Result")


@dataclass(slots=True)
class Measured:
    """One task: ours, and each peer's seconds, estimate and error."""

    task: str
    seconds: float
    estimate: float | None
    se: float | None
    peak_gb: float | None = None
    peers: dict[str, dict[str, float | None]] = field(default_factory=dict)


def factor_panel(n_units: int, n_periods: int, seed: int = 0) -> FloatArray:
    """Five factors, unit levels, noise; drawn in chunks so that memory holds one panel."""
    rng = np.random.default_rng(seed)
    paths = np.cumsum(rng.normal(size=(5, n_periods)), axis=1)
    outcome = np.empty((n_units, n_periods))
    for start in range(0, n_units, 10_000):
        rows = outcome[start : start + 10_000]
        rng.standard_normal(out=rows)
        rows += rng.normal(size=(len(rows), 5)) @ paths
        rows += 5 * rng.normal(size=(len(rows), 1))
    return outcome


def prop99(data: Path) -> Panel:
    """The public panel of Proposition 99."""
    return read_panel(
        data / "california_prop99.csv", unit="unit", time="time", outcome="packs_per_capita", treatment="treated"
    )


def median_seconds(run: Callable[[], tuple[float, float | None]], repeats: int) -> Measured:
    """Median of several runs after one warm-up."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        estimate, se = run()
        seconds.append(time.perf_counter() - start)
    return Measured("", statistics.median(seconds), estimate, se)


def ask_peers(
    measured: Measured,
    python: str,
    names: list[str],
    outcome: FloatArray,
    n_control: int,
    n_pre: int,
    se: str,
    draws: int,
) -> Measured:
    """Each peer on the same panel, once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        np.savez(path, outcome=outcome, n_control=n_control, n_pre=n_pre, se=se, draws=draws)
        for name in names:
            command = [python, str(Path(__file__).with_name("panel_peers.py")), name, str(path)]
            try:
                answer = subprocess.run(command, capture_output=True, text=True, timeout=PEER_TIMEOUT, check=True)
                measured.peers[name] = json.loads(answer.stdout.splitlines()[-1])
            except subprocess.TimeoutExpired:
                measured.peers[name] = {"seconds": float(PEER_TIMEOUT), "estimate": None, "se": None}
            except subprocess.CalledProcessError as failure:
                Console(stderr=True).print(f"{name} failed: {failure.stderr.splitlines()[-1]}", markup=False)
    return measured


def sdid_prop99(python: str, data: Path) -> Measured:
    """SDID with the exact placebo standard error, 38 placebos; peers draw as many (diff-diff draws 200 by default)."""
    outcome = prop99_block(data)

    def run() -> tuple[float, float]:
        fit = fit_synthetic_did(outcome, 38, 19)
        return fit.effect, float(placebo_synthetic_did(outcome[:38], 19, np.arange(38)[:, None], fit).std())

    measured = median_seconds(run, 50)
    return ask_peers(
        measured, python, ["diff-diff", "diff-diff, its default", "azcausal"], outcome, 38, 19, "placebo", 38
    )


def sc_prop99(python: str, data: Path) -> Measured:
    """Synthetic control, point estimate."""
    outcome = prop99_block(data)
    measured = median_seconds(lambda: (fit_synthetic_control(outcome, 38, 19).effect, None), 50)
    return ask_peers(measured, python, ["pysyncon"], outcome, 38, 19, "placebo", 38)


def prop99_block(data: Path) -> FloatArray:
    """Controls first."""
    fit = fit_panel(prop99(data), "did")
    return fit.block.outcome  # type: ignore[union-attr]


def sdid_1100(python: str, _: Path) -> Measured:
    """SDID 1,100 x 114 with the jackknife standard error."""
    outcome = factor_panel(1_100, 114)
    panel = block_panel(outcome, 1_000, 100)

    def run() -> tuple[float, float]:
        fit = fit_panel(panel, "sdid")
        return fit.effect, jackknife_se(fit, np.arange(1_100))

    measured = median_seconds(run, 10)
    return ask_peers(
        measured,
        python,
        ["diff-diff", "diff-diff, its default", "azcausal", "causaltensor"],
        outcome,
        1_000,
        100,
        "jackknife",
        0,
    )


def sdid_110000(python: str, _: Path) -> Measured:
    """SDID 110,000 x 365 with the jackknife standard error; peak memory of the process, the panel included."""
    return in_own_process(_sdid_110000)


def _sdid_110000() -> Measured:
    outcome = factor_panel(110_000, 365)
    panel = block_panel(outcome, 100_000, 275)
    start = time.perf_counter()
    fit = fit_panel(panel, "sdid")
    se = jackknife_se(fit, np.arange(110_000))
    return Measured("", time.perf_counter() - start, fit.effect, se, peak_gb())


def did_36m(python: str, _: Path) -> Measured:
    """DID and its standard error on 36.5 million cells; the peer is one numpy pass over the same memory."""
    return in_own_process(_did_36m)


def _did_36m() -> Measured:
    outcome = factor_panel(100_000, 365)

    def run() -> tuple[float, float]:
        fit = fit_did(outcome, 90_000, 275)
        return fit.effect, did_standard_error(fit)

    measured = median_seconds(run, 5)
    floor = median_seconds(lambda: (float(outcome.sum()), None), 5)
    measured.peers["one pass (outcome.sum())"] = {"seconds": floor.seconds, "estimate": None, "se": None}
    measured.peak_gb = peak_gb()
    return measured


def bakeoff_prop99(python: str, data: Path) -> Measured:
    """All seven methods, all standard errors, 200 placebos, two processes."""
    panel = prop99(data)
    start = time.perf_counter()
    report = bakeoff(panel, rng=np.random.default_rng(0), n_placebos=200, jobs=2)
    return Measured("", time.perf_counter() - start, report.scores[0].rmse.value, None)


def low_rank_case(case: str, python: str, data: Path) -> list[Measured]:
    """A case of benchmarks/observational/low_rank.py, in a process of its own."""
    options = argparse.Namespace(data=data, peers=Path(python))
    results = []
    for row in in_own_process(partial(low_rank.CASES[case], options)):
        answer = row["answer"] if isinstance(row["answer"], float) else None
        measured = Measured(row["case"], row["seconds"], answer, None, row["peak_gb_so_far"])
        if row["peer"]:
            scaled = row["peer_answer"] if isinstance(row["peer_answer"], str) else None
            told = row["peer"] if scaled is None else f"{row['peer']}, {scaled}"
            estimate = row["peer_answer"] if scaled is None else None
            measured.peers[told] = {"seconds": row["peer_seconds"], "estimate": estimate, "se": None}
        results.append(measured)
    return results


def block_panel(outcome: FloatArray, n_control: int, n_pre: int) -> Panel:
    """Controls first, pre-periods first."""
    arm = np.zeros(outcome.shape, dtype=np.int64)
    arm[n_control:, n_pre:] = 1
    units, periods = (tuple(f"{k:07d}" for k in range(n)) for n in outcome.shape)
    return Panel(units, periods, outcome, arm)


def in_own_process(function: Callable[[], Result]) -> Result:
    """Run where nothing else has used memory before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function).result()


def peak_gb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


TASKS: dict[str, "Task"] = {
    "sdid-prop99": sdid_prop99,
    "sc-prop99": sc_prop99,
    "sdid-1100x114": sdid_1100,
    "sdid-110000x365": sdid_110000,
    "did-36.5M": did_36m,
    "trop-cv-prop99": partial(low_rank_case, "trop_cv"),
    "trop-1100x114": partial(low_rank_case, "trop_point"),
    "mc-1100x114": partial(low_rank_case, "mc_small"),
    "mc-100000x365": partial(low_rank_case, "mc_tall"),
    "bakeoff-prop99": bakeoff_prop99,
}


def show(results: list[Measured]) -> Table:
    """One row a task and peer."""
    table = Table(title="panel estimators: seconds, and how many times ours fits into the peer's")
    for name in ("task", "ours", "estimate (se)", "peak GB", "peer", "seconds", "estimate (se)", "ratio"):
        table.add_column(name, justify="left" if name in ("task", "peer") else "right")
    for one in results:
        peers: list[tuple[str, dict[str, float | None]]] = list(one.peers.items()) or [("", {})]
        for k, (peer, answer) in enumerate(peers):
            seconds = answer.get("seconds")
            own = (
                (
                    one.task,
                    f"{one.seconds:.4g}",
                    _pair(one.estimate, one.se),
                    "" if one.peak_gb is None else f"{one.peak_gb:.2f}",
                )
                if k == 0
                else ("", "", "", "")
            )
            table.add_row(
                *own,
                peer,
                "" if seconds is None else f"{seconds:.4g}",
                _pair(answer.get("estimate"), answer.get("se")),
                "" if seconds is None else f"{seconds / one.seconds:.4g}",
            )
    return table


def _pair(estimate: float | None, se: float | None) -> str:
    return "" if estimate is None else f"{estimate:.5g}" + ("" if se is None else f" ({se:.4g})")


Task = Callable[[str, Path], Measured | list[Measured]]


@contextmanager
def progress(total: int, console: Console) -> Iterator[Callable[[str, float | None], None]]:
    """Call with a task's name when it begins, and with its seconds when it is done.

    A bar on a terminal; elsewhere a line as each task is done, because the longest of them take minutes.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def tell(name: str, seconds: float | None) -> None:
            nonlocal done
            if seconds is None:
                bar.update(task, description=name)
                return
            done += 1
            bar.advance(task)
            if not console.is_terminal:
                console.print(f"{done} of {total} done: {name}, {seconds:.1f} s with its peers", markup=False)

        yield tell


def measure(tasks: Mapping[str, Task], peers: str, data: Path, console: Console) -> list[Measured]:
    """Run these tasks one after the other, and show on the console how far it is."""
    results: list[Measured] = []
    with progress(len(tasks), console) as tell:
        for name, task in tasks.items():
            tell(name, None)
            began = time.perf_counter()
            found = task(peers, data)
            if isinstance(found, Measured):
                found.task = name
            results.extend([found] if isinstance(found, Measured) else found)
            tell(name, time.perf_counter() - began)
    return results


def main() -> None:
    """Run the tasks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], help="default: all")
    parser.add_argument("--peers", default=sys.executable, help="the interpreter that has them (default: this one)")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of california_prop99.csv")
    parser.add_argument("--json", action="store_true", help="print JSON as the last line")
    options = parser.parse_args()
    chosen = {name: TASKS[name] for name in options.tasks or TASKS}
    results = measure(chosen, options.peers, options.data, Console(stderr=True))
    Console(width=160).print(show(results))
    if options.json:
        print(json.dumps([asdict(one) for one in results]))


if __name__ == "__main__":
    main()
