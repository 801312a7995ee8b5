"""Planted effects on real sales: does the interval hold them, and what do forecast and covariates gain?

    python -m benchmarks.replays.planted FOLDER            # -10 %, 0, +5 %, 20 seeds each
    python -m benchmarks.replays.planted FOLDER --seeds 200 --json out.json

Random days over all stores by the production generator, the production estimate, sales rounded as the shop does. Whole
replays through Kafka and Redis: ``python -m benchmarks.replays.replay_coverage FOLDER --effects -0.10 0 0.05``.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.randomised.forecast import adjust, fit_forecast, theta_from_history
from analysis.sequential.block_differences import block_differences, mean_of_blocks
from benchmarks.randomised.worlds import interval
from benchmarks.replays.replay_designs import Panel, definition, estimate, panel
from controller.schedule.calendar import calendar
from flipside.replay.fitted_definition import fit
from flipside.replay.plan import FIRST_DAY
from flipside.sales_history.history import History, read_history

EFFECTS = (-0.10, 0.0, 0.05)
#: with a nominal rate of 5 % more than so many of 60 miss once in a hundred times
MISSES_ALLOWED, OF = 7, 60


def covered(history: History, sold: Panel, effect: float, seeds: int) -> dict[str, Any]:
    """How many intervals hold the effect, and how good the numbers are."""
    rng, found = np.random.default_rng(round(1000 * effect) + 5000), []
    for seed in range(seeds):
        fitted = fit(definition(history, "random_days", f"seed-{seed}"), history, FIRST_DAY, None, None)
        one = estimate(fitted, sold, effect, rng)
        assert one is not None
        low, high = interval(one)
        found.append((one.value, one.se, low <= effect <= high))
    value, se, inside = np.array(found).T
    return {
        "effect": effect,
        "seeds": seeds,
        "misses": int(seeds - inside.sum()),
        "mean_estimate": float(value.mean()),
        "mean_se": float(se.mean()),
        "scatter": float(value.std(ddof=1)),
    }


def promotions(folder: Path, sold: Panel, weeks: int) -> FloatArray:
    """(T, U, 3): coupon, advertising and logarithm of the shop's own price; what no draw of ours decides."""
    column = {unit: number for number, unit in enumerate(sold.units)}
    found = np.full((weeks, len(sold.units), 3), np.nan)
    path = next(folder / name for name in ("sales.csv.gz", "sales.csv") if (folder / name).is_file())
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = min(int(row["week"]) for row in rows)
    for row in rows:
        week = int(row["week"]) - first
        if week < weeks:
            unit = column[f"store-{row['store']}/brand-{row['brand']}"]
            price = float(row["price_per_ounce"])
            found[week, unit] = float(row.get("deal") or 0), float(row.get("feature") or 0), np.log(price)
    return found


def demographics(folder: Path, stores: Sequence[str]) -> FloatArray | None:
    """(G, p) what is known of each store's area, where there is a stores.csv."""
    if not (folder / "stores.csv").is_file():
        return None
    with (folder / "stores.csv").open(newline="") as file:
        rows = {f"store-{row['store']}": row for row in csv.DictReader(file)}
    return np.array([[float(rows[name][key]) for key in ("income", "hhlarge", "educ")] for name in stores])


def gains(folder: Path, history: History, sold: Panel, before: int, seeds: int) -> list[dict[str, Any]]:
    """Standard errors of one effect with less and less noise in the outcome, relative to control's mean; no effect."""
    weeks = len(sold.packs)
    fitted = fit(definition(history, "random_days", "seed-0"), history, FIRST_DAY, None, before)
    plan = calendar(fitted.experiment)
    of_unit = fitted.experiment.cluster_by_unit()
    number = {cluster: k for k, cluster in enumerate(plan.clusters)}
    cluster = np.array([number[of_unit[unit]] for unit in sold.units])
    stores = demographics(folder, plan.clusters)
    forecast = fit_forecast(
        sold.packs[:before].T, np.arange(before) % 7, np.array([u.split("/")[1] for u in sold.units])
    )
    behind, ahead = forecast.behind(np.arange(before) % 7).T, forecast.ahead(np.arange(before, weeks) % 7).T
    during = sold.packs[before:]
    by_promotion = _less_promotions(promotions(folder, sold, weeks), sold, forecast.level, behind, before)
    raw = _by_cluster(during, cluster)
    values = {"sales as they are": raw}
    if stores is not None:
        history_mean = np.nanmean(_by_cluster(sold.packs[:before], cluster), axis=1)
        values["less demographics of the store (CUPED)"] = adjust(raw, stores, theta_from_history(stores, history_mean))
    values["less forecast from the pre-period"] = _by_cluster(during - ahead, cluster)
    values["less forecast and promotions (CUPED by week)"] = _by_cluster(during - ahead - by_promotion, cluster)
    mean = float(np.nanmean(raw))
    rows: list[dict[str, Any]] = []
    for name, value in values.items():
        errors, effects = [], []
        for seed in range(seeds):
            experiment = fitted.experiment.model_copy(update={"seed": f"seed-{seed}"})
            arm = calendar(experiment).arms.astype(np.int64)
            found = mean_of_blocks(block_differences(value, arm, np.arange(arm.shape[1])))
            errors.append(found.se / mean)
            effects.append(found.effect / mean)
        rows.append({"outcome": name, "se": float(np.mean(errors)), "scatter": float(np.std(effects, ddof=1))})
    production = [estimate(fit(definition(history, "random_days", f"seed-{seed}"), history, FIRST_DAY, None, before),
                           sold, 0.0, np.random.default_rng(seed)) for seed in range(seeds)]  # fmt: skip
    known = [one for one in production if one is not None]
    rows.append({
        "outcome": "production: the unit's other days",
        "se": float(np.mean([one.se for one in known])),
        "scatter": float(np.std([one.value for one in known], ddof=1)),
    })  # fmt: skip
    return [row | {"weeks_saved": 1.0 - (row["se"] / rows[0]["se"]) ** 2} for row in rows]


def _by_cluster(values: FloatArray, cluster: IntArray) -> FloatArray:
    """(G, T) mean over the units of a cluster, NaN where none is known."""
    seen = np.isfinite(values)
    member = np.eye(cluster.max() + 1)[cluster]
    total, count = np.where(seen, values, 0.0) @ member, seen @ member
    mean: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).T
    return mean


def _less_promotions(x: FloatArray, sold: Panel, level: FloatArray, behind: FloatArray, before: int) -> FloatArray:
    """(T1, U) what promotions add to sales, in proportion to the unit's level; slopes by brand, from the pre-period."""
    brand = np.array([unit.split("/")[1] for unit in sold.units])
    seen: BoolArray = np.asarray(np.isfinite(x).all(axis=2))
    centre = np.nanmean(np.where(seen[:before, :, None], x[:before], np.nan), axis=0)
    scaled = np.where(seen[:, :, None], x - np.nan_to_num(centre), 0.0) * np.nan_to_num(level)[None, :, None]
    residual = sold.packs[:before] - behind
    shift = np.zeros((len(x) - before, len(brand)))
    for name in np.unique(brand):
        mine = np.flatnonzero(brand == name)
        rows = np.isfinite(residual[:, mine]) & seen[:before, mine]
        # what all stores do at once cancels from the effect: only how stores differ within a week counts
        count = np.maximum(rows.sum(axis=1, keepdims=True), 1)
        apart = [np.where(rows, part, 0.0) for part in (*np.moveaxis(scaled[:before, mine], 2, 0), residual[:, mine])]
        apart = [(part - part.sum(axis=1, keepdims=True) / count)[rows] for part in apart]
        theta = np.linalg.lstsq(np.stack(apart[:-1], axis=1), apart[-1], rcond=None)[0]
        shift[:, mine] = scaled[before:, mine] @ theta
    return shift


def main() -> None:
    """Run from the command line; exit code 1 where more intervals miss than chance allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of sales")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    whole = read_history(chosen.folder)
    history = whole.first(chosen.weeks)
    sold = panel(history)
    rows = [covered(history, sold, effect, chosen.seeds) for effect in EFFECTS]
    table = Table("effect", "seeds", "misses", "mean estimate", "mean standard error", "scatter")
    for row in rows:
        table.add_row(f"{row['effect']:+.2f}", str(row["seeds"]), str(row["misses"]), *(
            f"{row[name]:+.4f}" for name in ("mean_estimate", "mean_se", "scatter")
        ))  # fmt: skip
    console = Console(width=100)
    console.print(table)
    misses, runs = sum(row["misses"] for row in rows), sum(row["seeds"] for row in rows)
    allowed = MISSES_ALLOWED if runs == OF else int(stats.binom.ppf(0.99, runs, 0.05))
    console.print(f"{misses} of {runs} intervals miss; at most {allowed} are put up with")
    longer = whole.first(2 * chosen.weeks)
    precision = gains(chosen.folder, longer, panel(longer), chosen.weeks, chosen.seeds)
    table = Table("outcome", "standard error", "scatter", "experiment time saved")
    for row in precision:
        table.add_row(row["outcome"], f"{row['se']:.4f}", f"{row['scatter']:.4f}", f"{row['weeks_saved']:.0%}")
    console.print(table)
    if chosen.json:
        document = {"weeks": chosen.weeks, "coverage": rows, "precision": precision}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
    raise SystemExit(0 if misses <= allowed else 1)


if __name__ == "__main__":
    main()
