"""Published placebo simulations, run again: root mean squared error beside the published figure.

    python benchmarks/observational/published_designs.py --table sdid --designs baseline random --methods did mc --reps
    1000 python benchmarks/observational/published_designs.py --table trop --reps 200 --ramp 0.5

The true effect is zero in every design, so RMSE is the root of the mean squared estimate. Figures are in standard
deviations of the outcome. The Monte-Carlo standard error of an RMSE is sd(estimate^2)/(2 RMSE root(reps)).
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis.observational.estimators.did import fit_did
from analysis.observational.estimators.doubly_weighted import Penalties, doubly_weighted, homogeneous_effect
from analysis.observational.estimators.doubly_weighted_cv import cross_validate
from analysis.observational.estimators.matrix_completion import matrix_completion
from analysis.observational.estimators.synthetic_control import fit_difp, fit_synthetic_control
from analysis.observational.estimators.synthetic_did import fit_synthetic_did
from analysis.observational.estimators.weighted import WeightedFit
from analysis.observational.placebo_designs import (
    SDID_DESIGNS,
    TROP_DESIGNS,
    Components,
    PlaceboDesign,
    components,
    draw,
)
from analysis.panel_data.panel import BoolArray, FloatArray

Method = Callable[[FloatArray, BoolArray, np.random.Generator], float]
BlockFit = Callable[[FloatArray, int, int], WeightedFit]
#: grids of the masked form here: around what the published table chose
CV_GRIDS = ((0.0, 0.5, 2.0), (0.0, 0.1, 0.4), (0.02, 0.1, 0.5))


def weighted(Y: FloatArray, W: BoolArray, rng: np.random.Generator, fit: BlockFit) -> float:
    """A weighted double difference of the block: controls first."""
    treated = W.any(axis=1)
    ordered = np.concatenate([Y[~treated], Y[treated]])
    return fit(ordered, int((~treated).sum()), int((~W.any(axis=0)).sum())).effect


def mc(Y: FloatArray, W: BoolArray, rng: np.random.Generator) -> float:
    """Matrix completion, penalty by 5 folds of placebo blocks."""
    return matrix_completion(Y, W, np.ones_like(W), rng=rng, n_folds=5).effect


def mc_cells(Y: FloatArray, W: BoolArray, rng: np.random.Generator) -> float:
    """Matrix completion, penalty by 5 folds of cells."""
    return matrix_completion(Y, W, np.ones_like(W), rng=rng, hide="cells").effect


def trop_joint(Y: FloatArray, W: BoolArray, rng: np.random.Generator, published: Penalties) -> float:
    """Homogeneous effect at the published penalties."""
    return homogeneous_effect(Y, W, np.ones_like(W), published, scale=1.0).effect


def trop_block(Y: FloatArray, W: BoolArray, rng: np.random.Generator, published: Penalties) -> float:
    """Block-masked at the published penalties."""
    return doubly_weighted(Y, W, np.ones_like(W), published, "block-masked", scale=1.0).effect


def trop_cv(Y: FloatArray, W: BoolArray, rng: np.random.Generator) -> float:
    """Block-masked, penalties by cross-validation on this very panel."""
    observed = np.ones_like(W)
    scores = cross_validate(Y, W, observed, *CV_GRIDS, rng=rng, n_placebos=20)
    return doubly_weighted(Y, W, observed, scores.best, "block-masked").effect


def mc_fixed(Y: FloatArray, W: BoolArray, rng: np.random.Generator, penalty: float) -> float:
    """Matrix completion at a penalty that other panels of the same design chose."""
    return matrix_completion(Y, W, np.ones_like(W), penalty).effect


def calibrated_penalty(parts: Components, design: PlaceboDesign, seed: int) -> float:
    """Median of the penalties that cross-validation (5 folds of placebo blocks) takes on nine panels of their own."""
    rng = np.random.default_rng([seed, 9])
    chosen = []
    with threadpool_limits(1, "blas"):
        for _ in range(9):
            Y, W = draw(parts, design, rng)
            chosen.append(matrix_completion(Y, W, np.ones_like(W), rng=rng, n_folds=5).fit.penalty)
    return float(np.median(chosen))


METHODS: dict[str, Method] = {
    "did": partial(weighted, fit=fit_did),
    "sc": partial(weighted, fit=fit_synthetic_control),
    "sdid": partial(weighted, fit=fit_synthetic_did),
    "difp": partial(weighted, fit=fit_difp),
    "mc": mc,
    "mc-cells": mc_cells,
    "trop-cv": trop_cv,
}
WITH_PUBLISHED_PENALTIES = {"trop-joint": trop_joint, "trop-block": trop_block}
#: our method -> (column of the SDID file, column of the TROP file)
PUBLISHED_AS = {
    "did": ("did", "DID"),
    "sc": ("sc", "SC"),
    "sdid": ("sdid", "SDID"),
    "difp": ("difp", "DIFP"),
    "mc": ("mc", "MC"),
    "mc-cells": ("mc", "MC"),
    "mc-fixed": ("mc", "MC"),
    "trop-joint": (None, "TROP"),
    "trop-block": (None, "TROP"),
    "trop-cv": (None, "TROP"),
}


def read_panel(data: Path, design: PlaceboDesign) -> tuple[FloatArray, BoolArray | None]:
    """Outcomes (N, T) of a long file, and who has the policy in the last period."""
    with (data / f"{design.data}.csv").open() as file:
        rows = list(csv.DictReader(file))
    units = {unit: i for i, unit in enumerate(sorted({row["unit"] for row in rows}))}
    periods = {period: t for t, period in enumerate(sorted({row["time"] for row in rows}, key=float))}
    Y, policy = np.full((len(units), len(periods)), np.nan), np.zeros((len(units), len(periods)))
    for row in rows:
        i, t = units[row["unit"]], periods[row["time"]]
        Y[i, t] = float(row[design.outcome])
        policy[i, t] = 0.0 if design.policy == "random" else float(row[design.policy])
    return Y, None if design.policy == "random" else policy[:, -1] > 0


def published_figures(data: Path, table: str, name: str) -> tuple[dict[str, float], Penalties | None]:
    """RMSE by published column, and the published penalties of the TROP table."""
    if table == "sdid":
        with (data / "published_sdid_aer2021_tables.csv").open() as file:
            found = [row for row in csv.DictReader(file) if row["simulation"] == name]
        return {row["estimator"]: float(row["rmse"]) for row in found}, None
    with (data / "published_trop_table2_A1_rmse.csv").open() as file:
        row = next(r for r in csv.DictReader(file) if r["panel"] == "Tpost10_Ntr10" and r["dataset"] == name)
    penalties = Penalties(float(row["lambda_unit"]), float(row["lambda_time"]), float(row["lambda_nn"]))
    return {key: float(row[key]) for key in ("TROP", "SDID", "SC", "DID", "MC", "DIFP")}, penalties


def one_draw(
    parts: Components, design: PlaceboDesign, methods: dict[str, Method], seed: np.random.SeedSequence, ramp: float
) -> list[float]:
    """Estimates of all methods on one panel; each method has a generator of its own."""
    own, *others = seed.spawn(1 + len(methods))
    with threadpool_limits(1, "blas"):
        Y, W = draw(parts, design, np.random.default_rng(own), ramp)
        return [method(Y, W, np.random.default_rng(s)) for method, s in zip(methods.values(), others, strict=True)]


def run(
    data: Path, table: str, name: str, chosen: list[str], reps: int, ramp: float, jobs: int, seed: int
) -> list[dict[str, object]]:
    """One row per method: RMSE, bias, Monte-Carlo errors, and the published RMSE."""
    design = {"sdid": SDID_DESIGNS, "trop": TROP_DESIGNS}[table][name]
    figures, penalties = published_figures(data, table, name)
    methods = {m: METHODS[m] for m in chosen if m in METHODS}
    if penalties is not None:
        with_penalties = [m for m in chosen if m in WITH_PUBLISHED_PENALTIES]
        methods |= {m: partial(WITH_PUBLISHED_PENALTIES[m], published=penalties) for m in with_penalties}
    parts = components(*read_panel(data, design), design)
    if "mc-fixed" in chosen:
        methods["mc-fixed"] = partial(mc_fixed, penalty=calibrated_penalty(parts, design, seed))
    begin = time.perf_counter()
    seeds = np.random.SeedSequence(seed).spawn(reps)
    estimates = np.array(Parallel(n_jobs=jobs)(delayed(one_draw)(parts, design, methods, s, ramp) for s in seeds))
    seconds = time.perf_counter() - begin
    rows: list[dict[str, object]] = []
    for k, method in enumerate(methods):
        squares = estimates[:, k] ** 2
        rmse = float(np.sqrt(squares.mean()))
        published = figures.get(PUBLISHED_AS[method][table == "trop"] or "")
        error = float(squares.std(ddof=1) / (2 * rmse * np.sqrt(reps)))
        rows.append(
            {
                "design": name,
                "method": method,
                "ramp": ramp,
                "reps": reps,
                "rmse": rmse,
                "rmse_mc_se": error,
                "bias": float(estimates[:, k].mean()),
                "bias_mc_se": float(estimates[:, k].std(ddof=1) / np.sqrt(reps)),
                "published_rmse": published,
                "distance_in_mc_se": None if published is None else (rmse - published) / error,
                "seconds_all_methods": seconds,
            }
        )
    return rows


def main() -> None:
    """Read the command line, run, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=["sdid", "trop"], default="trop", help="which paper's designs")
    parser.add_argument("--designs", nargs="*", help="names of designs (default: all that the data allow)")
    parser.add_argument("--methods", nargs="*", choices=list(PUBLISHED_AS), help="methods to run")
    parser.add_argument("--reps", type=int, default=200, help="panels drawn per design")
    parser.add_argument("--ramp", type=float, default=0.0, help="also run with this zero-mean ramp in the effect")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data" / "panels")
    options = parser.parse_args()
    designs = options.designs or list({"sdid": SDID_DESIGNS, "trop": TROP_DESIGNS}[options.table])
    default = (
        ["did", "sc", "sdid", "difp", "mc-fixed"]
        if options.table == "sdid"
        else ["did", "sc", "sdid", "difp", "mc-fixed", "trop-joint", "trop-block", "trop-cv"]
    )
    print(f"{'design':18}{'method':12}{'ramp':>6}{'rmse':>9}{'(mc se)':>10}{'published':>11}{'bias':>9}{'(mc se)':>10}")
    rows = []
    for name in designs:
        for ramp in {0.0, options.ramp}:
            found = run(
                options.data,
                options.table,
                name,
                options.methods or default,
                options.reps,
                ramp,
                options.jobs,
                options.seed,
            )
            for row in found:
                published = "" if row["published_rmse"] is None or ramp else f"{row['published_rmse']:.4f}"
                print(
                    f"{name:18}{row['method']:12}{ramp:>6.2f}{row['rmse']:>9.4f}{row['rmse_mc_se']:>10.4f}"
                    f"{published:>11}{row['bias']:>9.4f}{row['bias_mc_se']:>10.4f}",
                    flush=True,
                )
            rows.extend(found)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
