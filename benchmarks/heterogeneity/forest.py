"""The causal forest beside grf's C++ core on six known effects, draw by draw in one run.

``python -m benchmarks.heterogeneity.forest --rows 10000 --draws 10 --grf grf.cpython-311.so --out FILE``. CPU seconds
(all threads) stand beside wall seconds, because other work on the machine lengthens only the latter. Nuisance models
and standard errors are included on both sides, compilation is not. The file is written after each draw, and a
file that is there is gone on with.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numba
import numpy as np

from analysis.heterogeneity.forests.fitted_forest import Centring
from analysis.heterogeneity.forests.forest import causal_forest
from benchmarks.heterogeneity import grf_core
from benchmarks.heterogeneity.forest_designs import DESIGNS, Floats, Sample, draw

TREES = 500
#: effects, errors, and what the method says of its own intervals, asked for once the clock has stopped
Fit = Callable[[Sample, int], tuple[Floats, Floats, Callable[[], str]]]


def ours(centring: Literal["auto"] | Centring) -> Fit:
    def fit(sample: Sample, seed: int) -> tuple[Floats, Floats, Callable[[], str]]:
        forest = causal_forest(sample.x, sample.treatment, sample.outcome, trees=TREES, seed=seed, centring=centring)
        effect, error = forest.predict(sample.points)
        return effect, error, lambda: "" if forest.calibration(sample.x).intervals_hold else "said not to hold"

    return fit


def measured(fit: Fit, sample: Sample, seed: int) -> dict[str, float | str]:
    """RMSE, coverage of 95 % intervals, and seconds of one fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    effect, error, verdict = fit(sample, seed)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    off = effect - sample.truth
    return {
        "rmse": float(np.sqrt(np.mean(off**2))),
        "coverage": float(np.mean(np.abs(off) <= 1.96 * error)),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "verdict": verdict(),
    }


def summary(draws: list[dict[str, object]]) -> list[dict[str, object]]:
    """Means by design and method, with ratios to grf where it ran."""
    rows = []
    for design in dict.fromkeys(str(d["design"]) for d in draws):
        by: dict[str, dict[str, float]] = {}
        for method in dict.fromkeys(str(d["method"]) for d in draws):
            mine = [d for d in draws if d["design"] == design and d["method"] == method]
            if not mine:
                continue
            numbers = ("rmse", "coverage", "cpu_seconds", "wall_seconds")
            by[method] = {k: float(np.mean([float(str(d[k])) for d in mine])) for k in numbers}
            by[method]["draws"] = len(mine)
            by[method]["said_not_to_hold"] = sum(bool(d["verdict"]) for d in mine)
        for method, one in by.items():
            peer = by.get("grf")
            ratios = {} if peer is None else {
                "rmse_to_grf": one["rmse"] / peer["rmse"],
                "times_as_fast_cpu": peer["cpu_seconds"] / one["cpu_seconds"],
                "times_as_fast_wall": peer["wall_seconds"] / one["wall_seconds"],
            }  # fmt: skip
            rows.append({"design": design, "method": method, **one, **ratios})
    return rows


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--draws", type=int, default=10)
    asked.add_argument("--first", type=int, default=0, help="seed of the first draw")
    asked.add_argument("--designs", nargs="*", default=list(DESIGNS))
    asked.add_argument("--centring", nargs="*", default=["none", "auto"])
    asked.add_argument("--grf", type=Path, help="the built extension; left out without it")
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    numba.set_num_threads(min(2, os.cpu_count() or 1))
    fits = {f"ours, centring {centring}": ours(centring) for centring in given.centring}
    if given.grf is not None:
        core = grf_core.load(given.grf)

        def peer(sample: Sample, seed: int) -> tuple[Floats, Floats, Callable[[], str]]:
            found = grf_core.effects(core, sample.x, sample.treatment, sample.outcome, sample.points, TREES, seed + 1)
            return *found, str

        fits["grf"] = peer
    warm = draw("two_steps", 1000, 99)
    for centring in ("none", "ridge", "quadratic", "boosted"):
        ours(centring)(warm, 0)
    there = given.out is not None and given.out.exists()
    draws: list[dict[str, object]] = json.loads(given.out.read_text())["draws"] if there else []
    done = {(d["design"], d["method"], d["seed"]) for d in draws}
    for seed in range(given.first, given.first + given.draws):
        for design in given.designs:
            left = {method: fit for method, fit in fits.items() if (design, method, seed) not in done}
            if not left:
                continue
            sample = draw(design, given.rows, seed)
            for method, fit in left.items():
                draws.append({"design": design, "method": method, "seed": seed, **measured(fit, sample, seed)})
                print(json.dumps(draws[-1]), flush=True)
            if given.out is not None:
                found = {"rows": given.rows, "trees": TREES, "summary": summary(draws), "draws": draws}
                part = given.out.with_suffix(".part")
                part.write_text(json.dumps(found, indent=1) + "\n")
                part.replace(given.out)
    for row in summary(draws):
        print(row)


if __name__ == "__main__":
    main()
