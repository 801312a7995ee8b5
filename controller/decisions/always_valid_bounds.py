"""Bounds that hold at every look: the pure formulas, shared by the guardrails and by the analysis.

The sum of n independent block differences, less the effects that they estimate, is a martingale. Mixing its likelihood
ratio over a normal prior of precision ``mixing`` (rho) gives a boundary that the sum crosses with probability at most
alpha, however often somebody looks (Robbins 1970; Ham, Bojinov, Lindon and Tingley, arXiv 2210.08639).
"""

import math

from controller.errors import NotEstimable


def tuning_ratio(alpha: float) -> float:
    """The x for which ``mixing = expected variance / x`` gives the narrowest bound at the expected variance.

    x solves ``x - ln(1 + x) = -2 ln(alpha)``, in closed form ``x = -W_{-1}(-alpha^2 / e) - 1`` with the lower branch of
    Lambert's W: 8.21 at alpha .05. At the expected variance the two-sided radius is then exactly ``sqrt(1 + x)``
    standard errors: 3.03 where a fixed-horizon interval has 1.96.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha = {alpha}: an error rate lies strictly between 0 and 1")
    goal = -2.0 * math.log(alpha)
    x = goal + math.log1p(goal)
    for _ in range(50):  # Newton on a convex, increasing function: quadratic from above
        step = (x - math.log1p(x) - goal) * (1.0 + x) / x
        x -= step
        if abs(step) <= 1e-15 * x:
            break
    return x


def mixing_for(expected_variance: float, alpha: float, *, sides: int = 2) -> float:
    """Rho, fixed before the start: the bound is narrowest when the summed variance reaches ``expected_variance``.

    One side at alpha is tuned like two sides at 2 alpha (Howard, Ramdas, McAuliffe and Sekhon 2021, section 3.5).
    """
    if not (math.isfinite(expected_variance) and expected_variance > 0.0):
        raise NotEstimable(
            f"expected variance = {expected_variance}: it must be positive and finite; take it from the pre-period"
        )
    return expected_variance / tuning_ratio(alpha if sides == 2 else min(2.0 * alpha, 0.999))


def two_sided_bound(variance: float, mixing: float, alpha: float) -> float:
    """What ``|sum of errors|`` stays under at every look, with probability at least 1 - alpha.

    ``sqrt((S + rho) ln((S + rho) / (rho alpha^2)))`` with S the summed variance of the differences so far. Divide by
    the number of differences for the radius of a mean.
    """
    total = variance + mixing
    return math.sqrt(total * math.log(total / (mixing * alpha * alpha)))


def one_sided_bound(variance: float, mixing: float, alpha: float) -> float:
    """What the sum of errors stays under, in one direction, at every look with probability at least 1 - alpha.

    ``sqrt(2 (S + rho) ln(1/2 + sqrt((S + rho) / rho) / (2 alpha)))``. It comes from the half-normal mixture
    ``2 sqrt(rho / (S + rho)) exp(z^2 / 2) Phi(z)``, ``z = sum / sqrt(S + rho)`` (Robbins 1970), solved with
    ``Phi(z) >= 1 - exp(-z^2 / 2) / 2`` for z >= 0; the exact root is less than 2 % lower at alpha <= .05.
    """
    total = variance + mixing
    return math.sqrt(2.0 * total * math.log(0.5 + math.sqrt(total / mixing) / (2.0 * alpha)))


def lower_limit(total: float, variance: float, count: int, mixing: float, alpha: float) -> float:
    """The largest mean effect ruled out from below after ``count`` differences that sum to ``total``.

    A guardrail on "not worse than L" is breached when :func:`upper_limit` falls under L, and is proven safe when this
    limit rises over L. ``variance`` is the sum of the differences' estimated variances.
    """
    _enough(count)
    return (total - one_sided_bound(variance, mixing, alpha)) / count


def upper_limit(total: float, variance: float, count: int, mixing: float, alpha: float) -> float:
    """The mirror of :func:`lower_limit`: effects above it are ruled out, at every look, with error at most alpha."""
    _enough(count)
    return (total + one_sided_bound(variance, mixing, alpha)) / count


def _enough(count: int) -> None:
    if count < 1:
        raise NotEstimable("no block has closed yet: a bound needs at least one difference between the arms")
