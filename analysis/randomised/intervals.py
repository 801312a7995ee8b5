"""From an effect and its standard error to an interval and a p-value, or to the reason why there is none."""

import math
from dataclasses import dataclass

from scipy import special

from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable

CONSTANT = (
    "the outcomes do not vary, so their error cannot be judged; look for a feed that repeats one value, or an empty one"
)


def must_vary(values: FloatArray) -> None:
    """Refuse outcomes that are all the same number: rounding would pass for an error, and a tiny one at that."""
    if values.size and values.min() == values.max():
        raise NotEstimable(CONSTANT)


@dataclass(frozen=True, slots=True)
class Inference:
    """An effect at a fixed horizon: valid for one look, on the day that was planned."""

    effect: float
    #: standard error, in the unit of the effect
    se: float
    lower: float
    upper: float
    #: two-sided, against no effect
    p: float
    #: degrees of freedom of Student's t; infinite for the normal
    degrees: float
    #: 1 - coverage of the interval
    alpha: float
    #: number of clusters that the error is taken over
    clusters: int
    method: str


def t_interval(
    effect: float, se: float, *, clusters: int, method: str, alpha: float = 0.05, degrees: float | None = None
) -> Inference:
    """``effect +- t * se`` with ``degrees`` = G - 2 unless told otherwise.

    With few clusters the normal quantile is too small: at 6 clusters it rejects one true null in six. G - 2 counts one
    mean per arm as spent.

    Raises:
        NotEstimable: fewer than three clusters; a standard error that is zero (constant outcomes) or not finite.
    """
    degrees = clusters - 2.0 if degrees is None else degrees
    if degrees <= 0.0:
        raise NotEstimable(
            f"{clusters} cluster{'s' if clusters != 1 else ''}: an error between clusters needs at least 3;"
            " randomise more clusters, or use the exact test over redraws"
        )
    if not (math.isfinite(effect) and math.isfinite(se)):
        raise NotEstimable(f"effect = {effect}, standard error = {se}: not every arm has usable cells")
    if se <= 1e-12 * max(1.0, abs(effect)):
        raise NotEstimable(CONSTANT)
    quantile = -float(special.stdtrit(degrees, alpha / 2.0))
    p = 2.0 * float(special.stdtr(degrees, -abs(effect / se)))
    return Inference(effect, se, effect - quantile * se, effect + quantile * se, p, degrees, alpha, clusters, method)


def z_interval(effect: float, se: float, *, clusters: int, method: str, alpha: float = 0.05) -> Inference:
    """``effect +- z * se``: for errors that do not rest on a count of clusters (one long switchback: U1, U2)."""
    return t_interval(effect, se, clusters=clusters, method=method, alpha=alpha, degrees=math.inf)
