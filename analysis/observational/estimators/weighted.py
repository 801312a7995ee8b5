"""One formula for four estimators: a double difference with weights over control units and over pre-periods.

    effect = (-omega, 1/N1)' Y (-lambda, 1/T1)

DID weighs all controls and all pre-periods alike, SC has no time weights, DIFP uniform ones, SDID fits both
(Arkhangelsky, Athey, Hirshberg, Imbens, Wager, American Economic Review 2021, equation 1 and table 1).
"""

from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class WeightedFit:
    """A weighted double difference on a block: controls in the first N0 rows, pre-periods in the first T0 columns."""

    #: in units of the outcome: mean over the treated cells
    effect: float
    #: omega (N0,), summing to one
    unit_weights: FloatArray
    #: lambda (T0,), summing to one, or all zero where the method compares levels (SC)
    time_weights: FloatArray
    #: (N,), each unit's post-period mean less its lambda-weighted pre-period mean
    changes: FloatArray
    #: (T,), treated mean less synthetic control, less its lambda-weighted pre-period mean: what remains to be explained
    gaps: FloatArray
    #: relative duality gaps of the problems that were solved: name -> bound
    certificates: tuple[tuple[str, float], ...] = ()
    #: what was assumed: name -> number
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def n_pre(self) -> int:
        """T0."""
        return len(self.time_weights)

    @property
    def effect_by_period(self) -> FloatArray:
        """(T1,), the effect in each post-period; ``effect`` is their mean."""
        return self.gaps[self.n_pre :]


def weighted_fit(
    outcome: FloatArray,
    unit_weights: FloatArray,
    time_weights: FloatArray,
    certificates: tuple[tuple[str, float], ...] = (),
    settings: tuple[tuple[str, float], ...] = (),
) -> WeightedFit:
    """Evaluate the formula; one pass over the panel, no copy of it."""
    n_control, n_pre = len(unit_weights), len(time_weights)
    changes = outcome @ contrast(time_weights, outcome.shape[1])
    gaps = outcome[n_control:].mean(axis=0) - _weighted_rows(unit_weights, outcome)
    gaps -= time_weights @ gaps[:n_pre]
    effect = float(changes[n_control:].mean() - unit_weights @ changes[:n_control])
    return WeightedFit(effect, unit_weights, time_weights, changes, gaps, certificates, settings)


def contrast(time_weights: FloatArray, n_periods: int) -> FloatArray:
    """(-lambda, 1/T1)."""
    n_post = n_periods - len(time_weights)
    return np.concatenate([-time_weights, np.full(n_post, 1.0 / n_post)])


def noise_level(control_pre: FloatArray) -> float:
    """Standard deviation (ddof 1) of the first differences of control outcomes before the treatment.

    Raises:
        NotEstimable: fewer than two differences, or differences without spread.

    """
    n_units, n_pre = control_pre.shape
    count = n_units * (n_pre - 1)
    if count < 2:
        raise NotEstimable(
            f"the noise level is the spread of first differences before the treatment, and {n_units} control unit(s) "
            f"over {n_pre} pre-period(s) give {count}: two at least are needed"
        )
    total = squares = largest = 0.0
    for start in range(0, n_units, 4096):
        steps = np.diff(control_pre[start : start + 4096], axis=1)
        total += float(steps.sum())
        squares += float(np.einsum("ij,ij->", steps, steps))
        largest = max(largest, float(np.abs(control_pre[start : start + 4096]).max()))
    spread = float(np.sqrt(max(squares - total * total / count, 0.0) / (count - 1)))
    if spread <= 1e-12 * largest:
        raise NotEstimable(
            "control outcomes do not change before the treatment, or all by the same: there is no noise level to "
            "weigh by; use did, sc or difp"
        )
    return spread


def _weighted_rows(weights: FloatArray, outcome: FloatArray) -> FloatArray:
    """Sum of weighted rows; reads only the rows that weigh something when they are few."""
    support = np.flatnonzero(weights)
    if 4 * support.size < weights.size:
        return weights[support] @ outcome[support]
    return weights @ outcome[: weights.size]
