"""One task of benchmarks/observational/low_rank.py done by a peer; run by an interpreter that has it.

    python benchmarks/observational/low_rank_peers.py TASK ARRAYS.npz

Prints one line of JSON: seconds, and the peer's answer.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from joblib import Parallel, delayed

Arrays = dict[str, Any]


def trop_point(data: Arrays) -> float:
    """Block-masked estimate by the `trop` package."""
    import trop

    treated = np.flatnonzero(data["W"].any(axis=1))
    length = int(data["W"].any(axis=0).sum())
    return float(trop.TROP_TWFE_average(data["Y"], data["W"], treated, *data["penalties"], treated_periods=length))


def trop_cv(data: Arrays) -> tuple[float, str]:
    """All triples times all placebos by the `trop` package, on two processes, as far as its budget of seconds goes.

    Fits are taken in random order, so those that were done stand for all; seconds are scaled up to all of them, and
    the answer says from how many.
    """
    import trop

    controls = data["Y"][~data["W"].any(axis=1)]
    length = int(data["W"].any(axis=0).sum())

    def effect(unit: int, triple: tuple[float, float, float]) -> Any:
        W = np.zeros(controls.shape)
        W[unit, -length:] = 1.0
        return trop.TROP_TWFE_average(controls, W, [unit], *triple, treated_periods=length)

    triples = list(product(data["unit_grid"], data["time_grid"], data["nuclear_grid"]))
    fits = list(product(range(int(data["n_placebos"])), triples))
    order = np.random.default_rng(0).permutation(len(fits))
    done, begin = 0, time.perf_counter()
    with Parallel(n_jobs=2) as pool:
        while done < len(fits) and time.perf_counter() - begin < float(data["budget"]):
            pool(delayed(effect)(*fits[k]) for k in order[done : done + 54])
            done = min(done + 54, len(fits))
    spent = time.perf_counter() - begin
    return spent * len(fits) / done, f"scaled from {done} of {len(fits)} fits in {spent:.0f} s"


def causaltensor_mc(data: Arrays) -> float:
    """Matrix completion at a fixed penalty by `causaltensor`, whose penalty stands beside half the SUM of squares."""
    from causaltensor.cauest.MCNNM import MCNNMPanelSolver

    solver = MCNNMPanelSolver(data["Y"], data["W"].astype(bool))
    cells = (data["W"] == 0).sum()
    return float(solver.solve_with_regularizer(float(data["penalty"]) * cells / 2, eps=1e-10, max_iter=20000).tau)


#: an answer, or its seconds and what they were scaled from
TASKS: dict[str, Callable[[Arrays], Any]] = {
    "trop_point": trop_point, "trop_cv": trop_cv, "causaltensor_mc": causaltensor_mc,
}  # fmt: skip

if __name__ == "__main__":
    arrays = dict(np.load(sys.argv[2]))
    task = TASKS[sys.argv[1]]
    begin = time.perf_counter()
    answer = task(arrays)
    seconds = time.perf_counter() - begin
    if isinstance(answer, tuple):
        seconds, answer = answer
    print(json.dumps({"seconds": seconds, "answer": answer}))
