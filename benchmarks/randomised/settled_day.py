"""A settled day of all units, as `analysis.panel_data.day_sheets` would have it: for benchmarks without records."""

import numpy as np

from analysis.panel_data.study import State, Unseen


def settled_day(
    sold: np.ndarray, seen: np.ndarray, dear: np.ndarray, *, price: int, cost: int, before: bool
) -> dict[str, np.ndarray]:
    """Columns of (units,): pieces sold at ``price`` minor units, a tenth more where ``dear``.

    ``seen``: units whose feed lived; ``before``: the day lies ahead of the experiment's start.
    """
    n = len(sold)
    return {
        "state": np.full(n, State.PRE_PERIOD, dtype=np.int8) if before else dear.astype(np.int8),
        "observed": seen,
        "unseen": np.where(seen, Unseen.OBSERVED, Unseen.FEED_SILENT).astype(np.int8),
        "quantity": sold,
        "revenue": sold * np.where(dear, round(price * 1.1), price),
        "cost": sold * cost,
        "events": sold,
        "late": np.zeros(n, dtype=np.int16),
        "corrected": np.zeros(n, dtype=bool),
        "live": np.full(n, -1, dtype=np.int8),
        "out_of_stock": np.full(n, -1, dtype=np.int8),
        "stale_hours": np.full(n, np.nan, dtype=np.float32),
    }
