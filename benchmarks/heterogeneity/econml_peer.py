"""econml's CausalForestDML on the same draws, added to the file of `forest.py`.

econml is no dependency of this distribution, so it has an environment of its own:
``python -m venv peer && peer/bin/pip install econml``, then, where this repository is,
``peer/bin/python -m benchmarks.heterogeneity.econml_peer --rows 10000 --draws 3 --into FILE``.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.heterogeneity.forest_designs import draw

TREES = 500


def one(design: str, rows: int, seed: int) -> dict[str, object]:
    """One draw: boosted nuisances by scikit-learn, cross-fitted twice, and a forest of 500 trees on two cores."""
    from econml.dml import CausalForestDML
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    sample = draw(design, rows, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    forest = CausalForestDML(
        model_y=HistGradientBoostingRegressor(random_state=seed),
        model_t=HistGradientBoostingClassifier(random_state=seed),
        discrete_treatment=True,
        n_estimators=TREES,
        n_jobs=2,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest.fit(sample.outcome, sample.treatment.astype(int), X=sample.x)
        effect = forest.effect(sample.points).ravel()
        low, high = (bound.ravel() for bound in forest.effect_interval(sample.points, alpha=0.05))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "design": design,
        "method": "econml",
        "seed": seed,
        "rmse": float(np.sqrt(np.mean((effect - sample.truth) ** 2))),
        "coverage": float(np.mean((low <= sample.truth) & (sample.truth <= high))),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "verdict": "",
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--draws", type=int, default=3)
    asked.add_argument("--designs", nargs="*", default=["two_steps"])
    asked.add_argument("--into", type=Path, required=True)
    given = asked.parse_args()
    found = json.loads(given.into.read_text()) if given.into.exists() else {"rows": given.rows, "draws": []}
    for seed in range(given.draws):
        for design in given.designs:
            found["draws"].append(one(design, given.rows, seed))
            print(json.dumps(found["draws"][-1]), flush=True)
            given.into.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
