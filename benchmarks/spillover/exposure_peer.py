"""Hajek contrasts beside those of spillover-effects 0.2.1, a package of weighted least squares on exposures.

It imports what it needs while it is built, so that it has an environment of its own:

    python -m venv PEER && PEER/bin/pip install "numpy<2.3" scipy pandas scikit-learn statsmodels setuptools
    PEER/bin/pip install --no-build-isolation spillover-effects==0.2.1
    python -m benchmarks.spillover.exposure_peer --peer PEER/bin/python --write benchmarks/results/spillover_peer.json

The inputs are drawn here, from seeds; the figures of the other package are kept, and a test compares ours with them.
"""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from analysis.spillover.effects import SpilloverEffects, effects_of_arrays
from analysis.spillover.exposure import Chances, conditions, exact_chances

#: contrast -> its two exposures, by their place in `analysis.spillover.exposure.CONDITIONS`
PAIRS = {"direct": (2, 0), "spillover": (1, 0)}
SEEDS = range(1, 21)
PEER = """
import json, sys
import numpy as np, pandas as pd
from spillover_effects import WLS

def figure(case):
    frame = pd.DataFrame({"y": case["outcome"], "z0": case["two"], "z1": case["one"],
                          "p0": case["chance_two"], "p1": case["chance_one"]})
    found = WLS("y", ["z0", "z1"], ["p0", "p1"], frame)
    return float(found.params[1] - found.params[0])

print(json.dumps([figure(case) for case in json.load(sys.stdin)]))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn experiment: products are randomised one by one, half of them treated."""

    outcome: np.ndarray
    treated: np.ndarray
    weights: sparse.csr_array
    chances: Chances

    def ours(self) -> SpilloverEffects:
        """What we make of it."""
        label = np.arange(len(self.outcome))
        return effects_of_arrays(self.outcome, self.treated, self.weights, self.chances, label)


def case_of(seed: int) -> Case:
    """Sixty units on a sparse graph, so that no exposure is rarer than one in a hundred."""
    rng = np.random.default_rng(seed)
    n = 60
    matrix = np.triu(rng.random((n, n)) < 0.05, 1) * rng.random((n, n))
    weights = sparse.csr_array(matrix + matrix.T)
    treated = rng.permutation(n) < n // 2
    return Case(rng.normal(size=n), treated, weights, exact_chances(np.arange(n), weights, {n // 2: 1.0}))


def inputs(case: Case, contrast: str) -> dict[str, list[float]]:
    """The same for the other package: units that can be in both exposures, and are in one."""
    one, two = PAIRS[contrast]
    now = conditions(case.treated[None], case.weights)[0]
    chance = [getattr(case.chances, name) for name in ("none", "indirect", "direct", "direct_and_indirect")]
    kept = (chance[one] > 0) & (chance[two] > 0) & ((now == one) | (now == two))
    return {
        "outcome": case.outcome[kept].tolist(),
        "one": (now == one)[kept].astype(float).tolist(),
        "two": (now == two)[kept].astype(float).tolist(),
        "chance_one": chance[one][kept].tolist(),
        "chance_two": chance[two][kept].tolist(),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="a Python that has spillover-effects 0.2.1")
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    asked = [(seed, contrast) for seed in SEEDS for contrast in PAIRS]
    given = json.dumps([inputs(case_of(seed), contrast) for seed, contrast in asked])
    done = subprocess.run([chosen.peer, "-c", PEER], input=given, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    rows = [
        {"seed": seed, "contrast": contrast, "peer": figure}
        for (seed, contrast), figure in zip(asked, figures, strict=True)
    ]
    off = [abs(row["peer"] - getattr(case_of(row["seed"]).ours(), row["contrast"]).value) for row in rows]
    print(f"{len(rows)} contrasts; largest difference {max(off):.1e}")
    if chosen.write:
        body = {"peer": "spillover-effects 0.2.1, WLS", "largest_difference": max(off), "rows": rows}
        chosen.write.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
