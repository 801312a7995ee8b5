"""The causal forest on a known effect: RMSE, coverage, seconds, peak memory (`make bench-forest ARGS="100000 3"`)."""

import resource
import sys
import time

import numpy as np

from analysis.heterogeneity.forest import causal_forest


def draw(rows: int, seed: int) -> tuple[np.ndarray, ...]:
    """Two smooth steps in the effect (Athey and Wager): ten uniform attributes, a coin, a main effect, noise of one."""
    rng = np.random.default_rng(seed)
    x, points = rng.random((rows, 10)), rng.random((2000, 10))

    def effect(at: np.ndarray) -> np.ndarray:
        return np.prod(1 + 1 / (1 + np.exp(-20 * (at[:, :2] - 1 / 3))), axis=1)

    w = (rng.random(rows) < 0.5).astype(float)
    y = 2 * x[:, 2] - 1 + x[:, 3] + w * effect(x) + rng.standard_normal(rows)
    return x, w, y, points, effect(points)


def main(rows: int = 10_000, seeds: int = 3) -> None:
    for centring in ("none", "auto"):
        x, w, y, points, truth = draw(1000, 99)
        causal_forest(x, w, y, centring=centring).predict(points)
        kept = []
        for seed in range(seeds):
            x, w, y, points, truth = draw(rows, seed)
            start = time.perf_counter()
            effect, error = causal_forest(x, w, y, centring=centring, seed=seed).predict(points)
            seconds = time.perf_counter() - start
            rmse = np.sqrt(np.mean((effect - truth) ** 2))
            kept.append((rmse, np.mean(np.abs(effect - truth) <= 1.96 * error), seconds))
        rmse, cover, seconds = np.mean(kept, axis=0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{centring:5} rows {rows}: RMSE {rmse:.4f}  coverage {cover:.3f}  {seconds:.2f} s  peak {peak:.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
