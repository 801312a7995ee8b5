"""grf's C++ core, called with the defaults of its R package: the strongest peer, built apart and never a dependency.

Build it in an environment of its own (g++, 75 s; GPL-3.0, so neither code nor binary belongs here): ``pip install
"cython<3.1" numpy setuptools scipy poetry-core``, ``pip download --no-deps --no-binary :all: --no-build-isolation
skgrf==0.3.0``, unpack, ``python build.py build_ext --inplace``. Its scikit-learn wrappers no
longer run; the extension does.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THREADS = 2


def load(path: Path) -> ModuleType:
    """The built extension ``grf.cpython-*.so``."""
    spec = importlib.util.spec_from_file_location("grf", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def effects(
    grf: ModuleType, x: Floats, w: Floats, y: Floats, points: Floats, trees: int, seed: int
) -> tuple[Floats, Floats]:
    """(k,) effects and (k,) standard errors at points; nuisance forests of a quarter of the trees."""
    p = x.shape[1]
    tried = min(int(np.ceil(np.sqrt(p) + 20)), p)
    few = max(50, trees // 4)
    left = []
    for column in (y, w):
        data = np.asfortranarray(np.column_stack([x, column]))
        fit = grf.regression_train(
            data, p, 0, False, tried, few, 5, 0.5, True, 0.5, True, 1, 0.05, 0.0, [], 0, True, THREADS, seed
        )
        left.append(column - np.array(fit["predictions"]).ravel())
    data = np.asfortranarray(np.column_stack([x, *left]))
    forest = grf.GRFForest(
        grf.causal_train(
            data, p, p + 1, 0, False, tried, trees, 5, 0.5, True, 0.5, True, 2, 0.0, 0.05, 0.0, True, [], 0, False,
            THREADS, seed,
        )
    )  # fmt: skip
    test = np.asfortranarray(np.column_stack([points, np.zeros((len(points), 2))]))
    found = grf.causal_predict(forest, data, p, p + 1, test, THREADS, True)
    return np.array(found["predictions"]).ravel(), np.sqrt(np.array(found["variance_estimates"]).ravel())
