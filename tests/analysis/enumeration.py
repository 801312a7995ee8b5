"""Small designs in full: every path of the coins, and potential outcomes with a carryover of a known order."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray

ArmArray = IntArray


def every_path(points: tuple[int, ...], periods: int, clusters: int = 1) -> Iterator[ArmArray]:
    """(clusters, T) arms for each of the 2^(coins x clusters) ways in which fair coins can fall."""
    lengths = np.diff([*points, periods])
    for coins in product((0, 1), repeat=len(points) * clusters):
        yield np.repeat(np.array(coins).reshape(clusters, len(points)), lengths, axis=1)


class Response:
    """Outcomes of N clusters that depend on today's arm and on the ``order`` days before, differently each day."""

    def __init__(self, rng: np.random.Generator, clusters: int, periods: int, order: int) -> None:
        self.base = rng.normal(2.0, 1.0, (clusters, periods))
        self.by_lag = rng.normal(1.0, 0.5, (order + 1, clusters, periods))

    def under(self, arm: ArmArray) -> FloatArray:
        outcome = self.base.copy()
        for lag, effect in enumerate(self.by_lag):
            outcome[:, lag:] += effect[:, lag:] * arm[:, : arm.shape[1] - lag]
        return outcome

    def estimand(self, order: int) -> float:
        """Mean effect of treatment held throughout, over the periods that have ``order`` periods before them."""
        always, never = np.ones(self.base.shape, np.int64), np.zeros(self.base.shape, np.int64)
        return float((self.under(always) - self.under(never))[:, order:].mean())
