"""The forest's compiled code, made once and kept beside it: four processes would each compile the same for themselves.

``python -m tests.parts.compiled_forest`` fits a forest of a few rows by every way that has compiled code. What is kept
already is not compiled again.
"""

import numpy as np

from analysis.heterogeneity.forests.forest import causal_forest

ROWS, LEAST_TREES = 400, 100


def compile_all() -> None:
    rng = np.random.default_rng(0)
    x, treated = rng.random((ROWS, 2)), rng.random(ROWS) < 0.5
    y = x[:, 0] + treated * x[:, 1] + rng.standard_normal(ROWS)
    forest = causal_forest(x, treated.astype(float), y, trees=LEAST_TREES, keep_members=True)
    forest.out_of_bag(x)
    forest.predict(x)
    forest.arm_differences(x, treated, np.empty((0, 2)))


if __name__ == "__main__":
    compile_all()
