"""Does one cluster carry the number?"""

from collections.abc import Sequence

from analysis.checks.verdict import Check, unknown
from analysis.panel_data.panel import FloatArray

#: above this share of all, or 2.3 times the share that each would have if all were alike
SHARE = 0.2


def concentration(shares: FloatArray, clusters: Sequence[str]) -> Check:
    """The largest cluster's share of control's outcome, ``shares`` (G,), by
    ``analysis.checks.arm_cells.cluster_shares``.

    Where one draw decides all, a cluster that carries a large share is under one arm only: how the others respond says
    little of it, and no interval made of them covers its own effect (docs/coverage.md has the figures).
    """
    if not len(shares):
        return unknown("concentration", SHARE, "control's outcomes are not known yet, or not all positive")
    threshold = max(SHARE, 2.3 / len(shares))
    largest = int(shares.argmax())
    value = float(shares[largest])
    found = value > threshold
    return Check(
        "concentration",
        value,
        threshold,
        "warn" if found else "pass",
        f"One cluster carries the total: report the effect without {clusters[largest]} beside it, or split the cluster."
        if found
        else "Nothing.",
        f"{clusters[largest]} has {value:.1%} of control's outcome among {len(shares)} clusters",
    )
