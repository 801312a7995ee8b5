"""One task by one peer, run in the peers' own environment: prints seconds, estimate and standard error as JSON.

python panel_peers.py PEER PANEL.npz: the file holds outcome (N, T), controls first, n_control, n_pre, and how to tell
the standard error (placebo with n_placebos, or jackknife). Imports and one warm-up call on a small panel are not timed.
"""

import contextlib
import io
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

warnings.filterwarnings("ignore")
os.environ.setdefault("MPLBACKEND", "Agg")

Floats = NDArray[np.float64]
#: what a call gives: the estimate, and its standard error
Run = Callable[[], tuple[float, float | None]]


def long_frame(outcome: Floats, n_control: int, n_pre: int) -> Any:
    import pandas as pd

    unit, period = np.indices(outcome.shape)
    frame = pd.DataFrame({"unit": unit.ravel(), "time": period.ravel(), "y": outcome.ravel()})
    frame["ever"] = (frame["unit"] >= n_control).astype(int)
    frame["treated"] = frame["ever"] * (frame["time"] >= n_pre)
    return frame


def diff_diff(outcome: Floats, n_control: int, n_pre: int, se: str, draws: int) -> Run:
    from diff_diff import SyntheticDiD

    frame = long_frame(outcome, n_control, n_pre)
    post = list(range(n_pre, outcome.shape[1]))

    def run() -> tuple[float, float | None]:
        model = SyntheticDiD(variance_method=se, n_bootstrap=draws, seed=0)
        found = model.fit(frame, outcome="y", treatment="ever", unit="unit", time="time", post_periods=post)
        return found.att, found.se

    return run


def azcausal(outcome: Floats, n_control: int, n_pre: int, se: str, draws: int) -> Run:
    import pandas as pd
    from azcausal.core.error import JackKnife, Placebo
    from azcausal.core.panel import CausalPanel
    from azcausal.estimators.panel.sdid import SDID

    treated = np.zeros(outcome.shape, dtype=int)
    treated[n_control:, n_pre:] = 1
    panel = CausalPanel(dict(outcome=pd.DataFrame(outcome.T), intervention=pd.DataFrame(treated.T))).setup()

    def run() -> tuple[float, float | None]:
        estimator = SDID()
        found = estimator.fit(panel)
        error = Placebo(n_samples=draws) if se == "placebo" else JackKnife()
        estimator.error(found, error)
        return found.effect.value, found.effect.se

    return run


def causaltensor(outcome: Floats, n_control: int, n_pre: int, se: str, draws: int) -> Run:
    from causaltensor.cauest import SDID

    treated = np.zeros(outcome.shape)
    treated[n_control:, n_pre:] = 1
    units = list(range(n_control, outcome.shape[0]))

    def run() -> tuple[float, float | None]:
        return float(SDID(outcome, treated, treat_units=units, starting_time=n_pre)), None

    return run


def pysyncon(outcome: Floats, n_control: int, n_pre: int, se: str, draws: int) -> Run:
    import pandas as pd
    from pysyncon import Synth

    before = pd.DataFrame(outcome[:n_control, :n_pre].T)
    target = pd.Series(outcome[n_control:, :n_pre].mean(axis=0), name="treated")

    def run() -> tuple[float, float | None]:
        model = Synth()
        model.fit(X0=before, X1=target, Z0=before, Z1=target, custom_V=np.ones(n_pre))
        gap = outcome[n_control:].mean(axis=0) - np.asarray(model.W) @ outcome[:n_control]
        return float(gap[n_pre:].mean()), None

    return run


def diff_diff_default(outcome: Floats, n_control: int, n_pre: int, se: str, draws: int) -> Run:
    return diff_diff(outcome, n_control, n_pre, "placebo", 200)


PEERS = {
    "diff-diff": diff_diff,
    "diff-diff, its default": diff_diff_default,
    "azcausal": azcausal,
    "causaltensor": causaltensor,
    "pysyncon": pysyncon,
}


def main(peer: str, path: str) -> None:
    task = np.load(path)
    outcome, n_control, n_pre = task["outcome"], int(task["n_control"]), int(task["n_pre"])
    se, draws = str(task["se"]), int(task["draws"])
    with contextlib.redirect_stdout(io.StringIO()):
        small = np.random.default_rng(0).normal(size=(12, 10))
        PEERS[peer](small, 10, 7, se, 3)()
        run = PEERS[peer](outcome, n_control, n_pre, se, draws)
        seconds: list[float] = []
        while not seconds or (sum(seconds) < 2 and len(seconds) < 9):
            start = time.perf_counter()
            estimate, error = run()
            seconds.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds),
                "estimate": float(estimate),
                "se": None if error is None else float(error),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
