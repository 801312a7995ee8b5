"""Influence of 1,000 clusters over 365 days: processor seconds, and how far from fits anew.

    python -m benchmarks.heterogeneity.influence
    python -m benchmarks.heterogeneity.influence --json benchmarks/results/influence.json

Beside each: what brute force takes, from the time of a few fits. sc and sdid are compared with 60 units and 30 periods
fitted anew: those that matter most by the closed form and others drawn at random.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from analysis.heterogeneity.cluster_day_influence import cluster_day_influence
from analysis.heterogeneity.influence import did_influence, means_influence
from analysis.heterogeneity.weighted_influence import Weights, weighted_influence
from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.panel_data.panel import FloatArray
from analysis.randomised.cluster_day import cluster_day_difference

CLUSTERS, DAYS, TREATED, AFTER = 1000, 365, 300, 65


def drawn(seed: int) -> np.ndarray:
    """(1000, 365): three drifting factors, levels, weekdays, noise."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 0.1, (3, DAYS)).cumsum(axis=1)
    level = 10 + rng.normal(0, 2, (CLUSTERS, 1)) + np.sin(np.arange(DAYS) * 2 * np.pi / 7)
    found: FloatArray = level + rng.normal(0, 1, (CLUSTERS, 3)) @ factors + rng.normal(0, 1, (CLUSTERS, DAYS))
    return found


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its processor seconds: the same on a machine that does other things too."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def cluster_day(seed: int) -> dict[str, Any]:
    y = drawn(seed).T
    rng = np.random.default_rng(seed)
    arm = np.stack([rng.permutation(CLUSTERS) % 2 == 0 for _ in range(DAYS)])
    y[rng.random(y.shape) < 0.02] = np.nan
    cluster = np.arange(CLUSTERS)

    def estimate(*given: Any) -> float:
        outcome, treated, of, draws, weight = given
        return cluster_day_difference(outcome, treated, of, draws=draws, weight=weight).absolute.value

    names = tuple(str(g) for g in cluster)
    found, seconds = timed(lambda: cluster_day_influence(y, arm, cluster, names, estimate, most=3))
    worst = 0.0
    _, one = timed(lambda: estimate(y, arm, cluster, None, None))
    for g in rng.choice(CLUSTERS, 10, replace=False):
        kept = cluster != g
        worst = max(worst, abs(estimate(y[:, kept], arm[:, kept], np.arange(CLUSTERS - 1), None, None)
                               - found.without_cluster[g]))  # fmt: skip
    for t in rng.choice(DAYS, 10, replace=False):
        kept = np.arange(DAYS) != t
        worst = max(worst, abs(estimate(y[kept], arm[kept], cluster, None, None) - found.without_day[t]))
    return {"seconds": seconds, "brute_force_seconds": one * (CLUSTERS + DAYS), "largest_difference": worst}


def did(seed: int) -> dict[str, Any]:
    y = drawn(seed)
    n_control, n_pre = CLUSTERS - TREATED, DAYS - AFTER
    _, seconds = timed(lambda: did_influence(y, n_control, n_pre))
    _, means = timed(lambda: means_influence(y.mean(axis=1), np.arange(CLUSTERS) >= n_control))
    return {"seconds": seconds, "means_seconds": means}


def weighted(method: str, seed: int) -> dict[str, Any]:
    y = drawn(seed)
    n_control, n_pre = CLUSTERS - TREATED, DAYS - AFTER
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    fit = estimator.fit

    def refit(outcome: np.ndarray, controls: int, before: int) -> float:
        return float(fit(outcome, controls, before).effect)

    def influence(**options: Any) -> Any:
        first = fit(y, n_control, n_pre)
        weights = Weights(first.unit_weights, first.time_weights, dict(first.settings).get("zeta", 0.0))
        return weighted_influence(y, n_control, n_pre, weights, refit, **options)

    found, seconds = timed(influence)
    closed, closed_seconds = timed(lambda: influence(refits=0))
    _, one = timed(lambda: refit(y, n_control, n_pre))
    rng = np.random.default_rng(seed)
    moves = np.abs(closed.without_unit - closed.effect)
    some = np.union1d(np.argsort(-moves)[:20], rng.choice(CLUSTERS, 40, replace=False))
    truth = np.array([refit(np.delete(y, i, axis=0), n_control - (i < n_control), n_pre) for i in some])
    days = np.union1d(np.argsort(-np.abs(closed.without_day - closed.effect))[:10], rng.choice(DAYS, 20, replace=False))
    true_days = np.array([refit(np.delete(y, t, axis=1), n_control, n_pre - (t < n_pre)) for t in days])
    off = np.abs(closed.without_unit[some] - truth)
    largest = np.argsort(-np.abs(truth - closed.effect))[:10]
    return {
        "seconds": seconds,
        "closed_form_seconds": closed_seconds,
        "brute_force_seconds": one * (CLUSTERS + DAYS),
        "refitted": found.refitted,
        "support": [int((w > 0).sum()) for w in (fit(y, n_control, n_pre).unit_weights,
                                                 fit(y, n_control, n_pre).time_weights)],
        "ten_largest_off_by_at_most": float((off[largest] / np.abs(truth - closed.effect)[largest]).max()),
        "units_off_by_at_most": float(off.max() / np.abs(truth - closed.effect).max()),
        "rank_correlation_units": _ranks(closed.without_unit[some], truth, closed.effect),
        "rank_correlation_periods": _ranks(closed.without_day[days], true_days, closed.effect),
    }  # fmt: skip


def _ranks(found: np.ndarray, truth: np.ndarray, effect: float) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(np.round(found - effect, 9), np.round(truth - effect, 9)).statistic)


def main() -> None:
    """Print one JSON object; exit code 1 where a figure misses what was promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {
        "clusters": CLUSTERS,
        "days": DAYS,
        "did": did(chosen.seed),
        "cluster-day": cluster_day(chosen.seed),
        **{method: weighted(method, chosen.seed) for method in ("sc", "sdid")},
    }
    print(json.dumps(figures, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    slow = [name for name in ("did", "cluster-day", "sc", "sdid") if figures[name]["seconds"] > 5.0]
    raise SystemExit(f"more than 5 s: {', '.join(slow)}" if slow else 0)


if __name__ == "__main__":
    main()
