"""Weighted estimators on the published placebo designs: error and coverage beside tables 2 to 4 of the SDID paper.

    python -m benchmarks.observational.published_coverage --designs baseline random --reps 1000 --coverage-reps 200

The true effect is zero in every design. RMSE comes with its Monte-Carlo standard error; coverage of 95 % intervals by
bootstrap (100 resamples), jackknife and placebo (100) is counted on the first ``--coverage-reps`` panels. The published
coverage is of 400 panels, so two coverages differ by about sqrt(.05 * .95 (1/400 + 1/reps)) by chance alone.
"""

import argparse
import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.observational.inference.replications import replicate
from analysis.observational.panel_estimate import Se, uncertainty_of
from analysis.observational.panel_fit import fit_panel
from analysis.observational.placebo_designs import SDID_DESIGNS, Components, PlaceboDesign, components, draw
from analysis.panel_data.panel import Panel
from benchmarks.observational.published_designs import read_panel
from controller.errors import NotEstimable

METHODS = ("did", "sc", "sdid", "difp")
SES: tuple[Se, ...] = ("bootstrap", "jackknife", "placebo")
DRAWS = 100


def one_panel(
    task: tuple[int, np.random.SeedSequence], parts: Components, design: PlaceboDesign, coverage_reps: int
) -> dict[str, dict[str, float]]:
    """Estimates and covered (1), not covered (0) or refused (absent), by method."""
    number, seed = task
    rng = np.random.default_rng(seed)
    outcome, treated = draw(parts, design, rng)
    units, periods = (tuple(f"{k:04d}" for k in range(n)) for n in outcome.shape)
    panel = Panel(units, periods, outcome, treated.astype(np.int64))
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        fit = fit_panel(panel, method)
        found[method] = {"effect": fit.effect}
        for kind in SES if number < coverage_reps else ():
            try:
                told = uncertainty_of(fit, panel, kind, rng, draws=DRAWS)
            except NotEstimable:
                continue
            found[method][kind] = float(abs(fit.effect) <= told.quantile * told.se)
    return found


def published(data: Path, name: str) -> dict[str, dict[str, str]]:
    """Rows of the published file by estimator."""
    with (data / "published_sdid_aer2021_tables.csv").open() as file:
        return {row["estimator"]: row for row in csv.DictReader(file) if row["simulation"] == name}


def run(data: Path, name: str, reps: int, coverage_reps: int, jobs: int, seed: int) -> list[dict[str, Any]]:
    """One row a method."""
    design = SDID_DESIGNS[name]
    work = partial(
        one_panel, parts=components(*read_panel(data, design), design), design=design, coverage_reps=coverage_reps
    )
    results = replicate(work, list(enumerate(np.random.SeedSequence(seed).spawn(reps))), jobs)
    figures, rows = published(data, name), []
    for method in METHODS:
        errors = np.array([one[method]["effect"] for one in results])
        rmse = float(np.sqrt(np.mean(errors**2)))
        mc_se = float(np.std(errors**2) / np.sqrt(reps) / (2 * rmse))
        there = figures[method]
        coverage = {}
        for kind in SES:
            covered = [one[method][kind] for one in results if kind in one[method]]
            printed = there[f"{kind}_cover95"]
            coverage[kind] = {
                "here": float(np.mean(covered)) if covered else None,
                "n": len(covered),
                "published": float(printed) if printed else None,
            }
        rows.append(
            {
                "design": name,
                "method": method,
                "reps": reps,
                "rmse": rmse,
                "rmse_mc_se": mc_se,
                "published_rmse": float(there["rmse"]),
                "distance_in_mc_se": (rmse - float(there["rmse"])) / mc_se,
                "bias": float(errors.mean()),
                "published_bias": float(there["bias"]),
                "coverage": coverage,
            }
        )
    return rows


def main() -> None:
    """Read the command line, run, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", nargs="*", choices=list(SDID_DESIGNS), default=list(SDID_DESIGNS))
    parser.add_argument("--reps", type=int, default=200)
    parser.add_argument("--coverage-reps", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data" / "panels")
    options = parser.parse_args()
    print(f"{'design':18}{'method':7}{'rmse':>8}{'(mc se)':>9}{'published':>10}{'in se':>7}  coverage here/published")
    rows = []
    for name in options.designs:
        for row in run(options.data, name, options.reps, options.coverage_reps, options.jobs, options.seed):
            told = ", ".join(
                f"{kind} {one['here']:.3f}/{one['published'] if one['published'] is not None else '-'}"
                for kind, one in row["coverage"].items()
                if one["here"] is not None
            )
            print(
                f"{name:18}{row['method']:7}{row['rmse']:>8.4f}{row['rmse_mc_se']:>9.4f}{row['published_rmse']:>10.4f}"
                f"{row['distance_in_mc_se']:>7.1f}  {told}",
                flush=True,
            )
            rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
