"""One task of benchmarks/low_rank.py done by a peer; run by the interpreter of the benchmark environment.

    .venv-bench/bin/python benchmarks/low_rank_peers.py TASK ARRAYS.npz

Prints one line of JSON: seconds, and the peer's answer.
"""

import json
import sys
import time
from itertools import product

import numpy as np
from joblib import Parallel, delayed


def trop_point(data):
    """Block-masked estimate by the `trop` package."""
    import trop

    treated = np.flatnonzero(data["W"].any(axis=1))
    length = int(data["W"].any(axis=0).sum())
    return float(trop.TROP_TWFE_average(data["Y"], data["W"], treated, *data["penalties"], treated_periods=length))


def trop_cv(data):
    """All triples times all placebos by the `trop` package, on two processes."""
    import trop

    controls = data["Y"][~data["W"].any(axis=1)]
    length = int(data["W"].any(axis=0).sum())

    def effect(unit, triple):
        W = np.zeros(controls.shape)
        W[unit, -length:] = 1.0
        return trop.TROP_TWFE_average(controls, W, [unit], *triple, treated_periods=length)

    triples = list(product(data["unit_grid"], data["time_grid"], data["nuclear_grid"]))
    units = range(int(data["n_placebos"]))
    effects = Parallel(n_jobs=2)(delayed(effect)(unit, triple) for unit in units for triple in triples)
    rmse = np.sqrt(np.mean(np.square(effects).reshape(len(units), len(triples)), axis=0))
    return [float(x) for x in triples[int(np.argmin(rmse))]]


def causaltensor_mc(data):
    """Matrix completion at a fixed penalty by `causaltensor`, whose penalty stands beside half the SUM of squares."""
    from causaltensor.cauest.MCNNM import MCNNMPanelSolver

    solver = MCNNMPanelSolver(data["Y"], data["W"].astype(bool))
    cells = (data["W"] == 0).sum()
    return float(solver.solve_with_regularizer(float(data["penalty"]) * cells / 2, eps=1e-10, max_iter=20000).tau)


TASKS = {"trop_point": trop_point, "trop_cv": trop_cv, "causaltensor_mc": causaltensor_mc}

if __name__ == "__main__":
    arrays = dict(np.load(sys.argv[2]))
    task = TASKS[sys.argv[1]]
    begin = time.perf_counter()
    answer = task(arrays)
    print(json.dumps({"seconds": time.perf_counter() - begin, "answer": answer}))
