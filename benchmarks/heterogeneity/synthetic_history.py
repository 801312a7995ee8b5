"""A synthetic history of the orange juice sales beside its source: moments, advice, nearness, and a classifier.

    python -m benchmarks.heterogeneity.synthetic_history ../shared/data/orange_juice
    python -m benchmarks.heterogeneity.synthetic_history ../shared/data/orange_juice \
        --json benchmarks/results/synthetic_history.json

A record is the whole series of a store and brand. Nearness: each copy's distance to its closest record of the source,
beside that of a random half of the stores to the other half, each among as many. Standard errors: the advisor's mean
over its rehearsals; they differ between copies as they would between shops, which is the Monte-Carlo error. Classifier:
told apart by logistic regression and by boosted trees, on the whole series of log pieces and on 14 features of it.
There the synthetic history is made from half of the stores and the real series are those of the other half: made from
all, its means are those of all, and whatever differs from them in the stores that a classifier has seen differs the
other way in those that it is judged on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.heterogeneity.synthetic.history import synthesize
from analysis.heterogeneity.synthetic.moments import closest, moments
from analysis.heterogeneity.synthetic.sold import Sold
from analysis.planning.advice import Question
from analysis.planning.advise import advise
from analysis.planning.candidates import Constraints
from analysis.planning.rehearsal import History, Truth
from flipside.sales_history.synthetic import Source, from_folder

KINDS = ("random_days", "blocked_switchback", "crossover", "time_bound")


def features(sold: Sold) -> np.ndarray:
    """(U, 14) of each series: where it lies, how it spreads, how it goes on, how it answers prices."""
    z, p = sold.log_quantity, sold.log_price
    assert p is not None
    level = np.nanmean(z, axis=0)
    d, x = z - level, p - np.nanmean(p, axis=0)
    s = np.nanstd(d, axis=0)
    lags = [np.nanmean(d[k:] * d[:-k], axis=0) / s**2 for k in (1, 2, 3, 4)]
    steps = np.nanstd(np.diff(d, axis=0), axis=0)
    low, high = np.nanquantile(d, (0.05, 0.95), axis=0)
    found = [level, s, *lags, steps, low, high, np.nanmax(d, axis=0), np.nanmean((d / s) ** 3, axis=0),
             np.nanmean((d / s) ** 4, axis=0), np.nanstd(x, axis=0), np.nanmean(d * x, axis=0)]  # fmt: skip
    features: np.ndarray = np.nan_to_num(np.stack(found, axis=1))
    return features


def part(sold: Sold, stores: np.ndarray) -> Sold:
    """Some stores."""
    units = np.flatnonzero(np.isin(sold.store, stores))
    assert sold.price is not None
    return Sold(
        np.unique(sold.store[units], return_inverse=True)[1].astype(np.int64),
        sold.product[units],
        sold.quantity[:, units],
        sold.price[:, units],
        sold.period_days,
    )


def auc(one: np.ndarray, two: np.ndarray, stores: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Out-of-fold areas under the curve; a store is in one fold."""
    x = np.concatenate([one, two])
    y = np.repeat([0, 1], [len(one), len(two)])
    groups = np.r_[stores, others]
    found = {}
    for name, model in (
        ("logistic", make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))),
        ("boosted", HistGradientBoostingClassifier(max_iter=60, random_state=0)),
    ):
        score = np.empty(len(y))
        for train, test in GroupKFold(4).split(x, y, groups):
            score[test] = model.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
        found[name] = float(roc_auc_score(y, score))
    return found


def told_apart(real: Sold, shocks: Any, seed: int) -> dict[str, Any]:
    """Areas under the curve of real stores and of copies made from the others."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(real.store.max()) + 1)
    half = len(order) // 2
    copy, held_out = synthesize(part(real, order[:half]), rng, shocks), part(real, order[half : 2 * half])
    again = part(real, order[:half])

    def series(sold: Sold) -> np.ndarray:
        return np.nan_to_num(sold.log_quantity.T)

    return {
        "whole_series": auc(series(held_out), series(copy), held_out.store, copy.store),
        "features": auc(features(held_out), features(copy), held_out.store, copy.store),
        "features_of_two_real_halves": auc(features(held_out), features(again), held_out.store, again.store),
    }


def advice(source: Source, sold: Sold, runs: int) -> dict[str, Any]:
    """Standard errors of all designs, and the recommended one."""
    labels = tuple(str(t) for t in range(len(sold.quantity)))
    history = History(source.units, sold.quantity, labels, 7, "market", "units", "USD")
    question = Question(Constraints(26, 7, 0, kinds=KINDS), Truth(-0.1), runs)
    found = advise(history, question, jobs=1)
    return {
        "recommended": found.recommended,
        "se": {d.name: d.se for d in found.designs if d.se is not None and d.refused is None},
        "range": {d.name: d.se_range for d in found.designs if d.se is not None and d.refused is None},
    }


def compared(source: Source, shocks: Any, seed: int, runs: int, original: dict[str, Any]) -> dict[str, Any]:
    """All comparisons of one synthetic history."""
    real = source.sold
    drawn = synthesize(real, np.random.default_rng(seed), shocks)
    of_moments = moments(real, drawn)
    every = np.arange(len(real.store))
    rng = np.random.default_rng(1)
    half = rng.permutation(int(real.store.max()) + 1) % 2 == 0
    inside, outside = np.flatnonzero(half[real.store]), np.flatnonzero(~half[real.store])
    halves = (inside, outside)
    copies = np.concatenate([closest(drawn, real, every, one) for one in halves])
    held_out = np.concatenate([closest(real, real, one, other) for one, other in (halves, halves[::-1])])
    again = advice(source, drawn, runs)
    return {
        "shocks": shocks,
        "seed": seed,
        "moments": [{**asdict(m), "error": m.error, "kept": m.kept} for m in of_moments],
        "lost": [m.name for m in of_moments if not m.kept],
        "advice": again,
        "se_ratio": {name: again["se"][name] / se for name, se in original["se"].items() if name in again["se"]},
        "closest_of_copies": {"5 %": float(np.quantile(copies, 0.05)), "median": float(np.median(copies))},
        "closest_of_a_held_out_half": {
            "5 %": float(np.quantile(held_out, 0.05)), "median": float(np.median(held_out))
        },
        "auc": told_apart(real, shocks, seed),
    }  # fmt: skip


def agreement(source: dict[str, float], synthetic: list[dict[str, Any]]) -> dict[str, Any]:
    """By design: standard errors on the source and on copies that keep the chain's weeks, and how far apart they are.

    `apart` is in Monte-Carlo errors: the copies' standard deviation, for the source's one draw and the copies' mean.
    """
    found = {}
    for name, real in source.items():
        copies = [one["advice"]["se"][name] for one in synthetic if one["shocks"] == "kept"]
        if len(copies) > 1:
            mean, spread = float(np.mean(copies)), float(np.std(copies, ddof=1))
            error = spread * (1 + 1 / len(copies)) ** 0.5
            found[name] = {
                "source": real, "mean_of_copies": mean, "standard_deviation_of_copies": spread,
                "ratio": mean / real, "apart": (mean - real) / error,
            }  # fmt: skip
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=100, help="rehearsals of each design")
    parser.add_argument("--seeds", type=int, default=8, help="copies that keep the chain's weeks")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    source = from_folder(chosen.folder)
    original = advice(source, source.sold, chosen.runs)
    figures: dict[str, Any] = {"runs": chosen.runs, "source": original, "synthetic": []}
    for shocks, seeds in (("kept", chosen.seeds), ("redrawn", 1)):
        for seed in range(seeds):
            figures["synthetic"].append(compared(source, shocks, seed, chosen.runs, original))
            figures["standard_errors"] = agreement(original["se"], figures["synthetic"])
            if chosen.json:
                chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
