"""HPTE on simulated panels: coverage of the average, and per-unit errors.

``python -m benchmarks.heterogeneity.hpte --units 200 --draws 400 --out FILE``. Each panel has a trend and a level of
its own for each unit, weekdays, a day's shock, autocorrelated noise with t3 tails, and effects that differ by category
and by size within a category. The truth is the mean effect of the units that are drawn from; each draw has new units.
The file is written after each draw, and a file that is there is gone on with. ``--beside scores`` adds the
average's error by the other way.

``--trimming``: 50 units, half treated, first differences of noise t2 (scale .3) and an effect of .5; the difference of
the arms' means with the cut and without.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.heterogeneity.differences import kept
from analysis.heterogeneity.forests.forest import causal_forest
from analysis.heterogeneity.unit_effects import hpte
from benchmarks.heterogeneity.figures_page import PAGE, written

BEFORE, AFTER = 42, 28
#: mean of 0.5 + 0.3 [category 0] - 0.1 [others] + 0.6 (size - 1/2) over four categories and uniform sizes
TRUTH = 0.5


def panel(units: int, seed: int) -> tuple[Any, Any, np.ndarray]:
    """A frame, its attributes, and each unit's effect; half of the units are treated from day 42 on."""
    rng = np.random.default_rng(seed)
    category, size, shelf = rng.integers(0, 4, units), rng.random(units), rng.integers(0, 3, units)
    effect = TRUTH + np.where(category == 0, 0.3, -0.1) + 0.6 * (size - 0.5)
    length = BEFORE + AFTER
    days = np.arange(length)
    treated = np.zeros((units, length), np.int64)
    treated[rng.permutation(units)[: units // 2], BEFORE:] = 1
    noise = 0.4 * rng.standard_t(3, (units, length))
    for day in range(1, length):
        noise[:, day] += 0.4 * noise[:, day - 1]
    level, slope = 0.3 * category + rng.normal(0, 0.5, units), rng.normal(0.002, 0.004, units)
    expected = level[:, None] + slope[:, None] * days + rng.normal(0, 0.2, 7)[days % 7]
    outcome = expected + effect[:, None] * treated + noise + rng.normal(0, 0.1, length)
    names = np.array([f"u{k:05d}" for k in range(units)])
    labels = pd.date_range("2026-01-01", periods=length).strftime("%Y-%m-%d")
    frame = pd.DataFrame(
        {
            "unit": np.repeat(names, length),
            "time": np.tile(labels, units),
            "outcome": outcome.ravel(),
            "treatment": treated.ravel(),
        }
    )
    known = {"unit": names, "category": [f"c{c}" for c in category], "size": size, "shelf": [f"s{s}" for s in shelf]}
    return frame, pd.DataFrame(known), effect


def category_means(found: Any, effect: np.ndarray, known: Any) -> float:
    """RMSE of each unit's category mean, by the same scores."""
    means = {one.level: one.effect for one in found.levels if one.attribute == "category"}
    guess = np.array([means.get(str(c), found.average.line.value) for c in known["category"]])
    return float(np.sqrt(np.mean((guess - effect) ** 2)))


def raw_forest(frame: Any, known: Any, effect: np.ndarray, seed: int) -> float:
    """RMSE of the plain forest on mean after less mean before."""
    values = frame["outcome"].to_numpy().reshape(len(known), -1)
    treated = frame["treatment"].to_numpy().reshape(len(known), -1)[:, -1]
    x = np.column_stack([pd.get_dummies(known[["category", "shelf"]]).to_numpy(float), known["size"]])
    forest = causal_forest(
        x, treated, values[:, BEFORE:].mean(axis=1) - values[:, :BEFORE].mean(axis=1), centring="none", seed=seed,
        propensity=np.full(len(x), 0.5),
    )  # fmt: skip
    return float(np.sqrt(np.nanmean((forest.out_of_bag(x)[0] - effect) ** 2)))


def trimming(draws: int, units: int = 50) -> dict[str, Any]:
    """Bias and median absolute error of the difference of the arms' means, with the cut and without."""
    errors = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        treated = rng.permutation(units) < units // 2
        value = TRUTH * treated + 0.3 * rng.standard_t(2, units)
        inside = kept(value, treated, np.arange(units), crossover=False)
        each = [value[treated & some].mean() - value[~treated & some].mean() for some in (inside, np.ones(units, bool))]
        errors.append([one - TRUTH for one in each])
    off = np.array(errors)
    cut, whole = np.median(np.abs(off), axis=0)
    return {
        "units": units,
        "draws": draws,
        "effect": TRUTH,
        "bias": float(off[:, 0].mean()),
        "bias_monte_carlo_error": float(off[:, 0].std(ddof=1) / np.sqrt(draws)),
        "median_absolute_error": float(cut),
        "median_absolute_error_without": float(whole),
        "ratio": float(cut / whole),
    }


def one(units: int, seed: int, noise: str, forecaster: str, beside: str | None) -> dict[str, Any]:
    frame, known, effect = panel(units, seed)
    start = time.process_time()
    found = hpte(frame, known, noise=noise, forecaster=forecaster, seed=seed)  # type: ignore[arg-type]
    frame_of = found.unit_frame
    line, check = found.average.line, found.average.cross_check
    other: dict[str, Any] = {}
    if beside is not None:
        again = hpte(frame, known, noise=beside, forecaster=forecaster, seed=seed).average.line  # type: ignore[arg-type]
        other = {"beside_error": again.error, "beside_covers": again.low <= TRUTH <= again.high}
    return {
        "seed": seed,
        **other,
        "average": line.value,
        "error": line.error,
        "covers": line.low <= TRUTH <= line.high,
        "cross_check": check.value,
        "cross_check_error": check.error,
        "cross_check_covers": check.low <= TRUTH <= check.high,
        "rmse": float(np.sqrt(np.nanmean((frame_of["effect"] - effect) ** 2))),
        "rmse_category_means": category_means(found, effect, known),
        "rmse_raw_forest": raw_forest(frame, known, effect, seed),
        "unit_coverage": float(((frame_of["low"] <= effect) & (effect <= frame_of["high"])).mean()),
        "unit_error": float((frame_of["high"] - frame_of["low"]).mean() / (2 * 1.96)),
        "intervals_hold": found.calibration is not None and found.calibration.intervals_hold,
        "not_comparable": found.not_comparable,
        "forecaster": found.forecaster,
        "centring": found.centring,
        "cpu_seconds": time.process_time() - start,
    }


def summary(draws: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = [key for key, value in draws[0].items() if isinstance(value, bool | float)]
    found: dict[str, Any] = {key: float(np.mean([float(d[key]) for d in draws])) for key in numbers}
    for key in [key for key in found if key.endswith("covers")]:
        found[f"{key}_monte_carlo_error"] = float(np.sqrt(found[key] * (1 - found[key]) / len(draws)))
    found["spread_of_average"] = float(np.std([d["average"] for d in draws], ddof=1)) if len(draws) > 1 else None
    found["spread_of_cross_check"] = (
        float(np.std([d["cross_check"] for d in draws], ddof=1)) if len(draws) > 1 else None
    )
    return {"draws": len(draws), **found}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--units", type=int, default=200)
    asked.add_argument("--draws", type=int, default=400)
    asked.add_argument("--first", type=int, default=0)
    asked.add_argument("--noise", default="auto")
    asked.add_argument("--forecaster", default="shrunk")
    asked.add_argument("--minutes", type=float, default=1e9, help="stop after the draw that ends later than this")
    asked.add_argument("--beside", choices=("refits", "scores"))
    asked.add_argument("--trimming", action="store_true")
    asked.add_argument(
        "--page", action="store_true", help="write docs/methods/heterogeneity.md from the results and end"
    )
    asked.add_argument("--out", type=Path)
    given = asked.parse_args()
    if given.page:
        PAGE.write_text(written(), "utf-8")
        return
    if given.trimming:
        text = json.dumps(trimming(given.draws), indent=1)
        print(text)
        if given.out is not None:
            given.out.write_text(text + "\n")
        return
    began = time.monotonic()
    there = given.out is not None and given.out.exists()
    draws: list[dict[str, Any]] = json.loads(given.out.read_text())["draws"] if there else []
    done = {draw["seed"] for draw in draws}
    for seed in range(given.first, given.first + given.draws):
        if seed in done:
            continue
        draws.append(one(given.units, seed, given.noise, given.forecaster, given.beside))
        if given.out is not None:
            found = {"units": given.units, "noise": given.noise, "forecaster": given.forecaster}
            part = given.out.with_suffix(".part")
            part.write_text(json.dumps({**found, "summary": summary(draws), "draws": draws}, indent=1) + "\n")
            part.replace(given.out)
        if time.monotonic() - began > 60 * given.minutes:
            break
    print(json.dumps(summary(draws), indent=1))


if __name__ == "__main__":
    main()
