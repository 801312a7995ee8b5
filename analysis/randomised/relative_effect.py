"""Relative effects: Fieller's interval for the ratio of a difference to control's mean.

With tau the difference between the arms, b control's mean and V(r) the estimated variance of the mean of
(treated - r control), a relative effect rho is in the set where the difference that it implies is not rejected,

    (tau - rho b)^2 <= t^2 V(1 + rho),

t the quantile that the absolute interval uses (Fieller, J. R. Statist. Soc. B 16, 1954). V is a quadratic in r, hence
the set is an interval, the outside of one, or all numbers. At rho = 0 it asks what the absolute interval asks: both
hold zero, or neither does, and there is one p-value for both.
"""

from dataclasses import dataclass
from math import isfinite, sqrt

from scipy.special import stdtr, stdtrit

#: a base that is not so many standard errors above zero is no base
ERRORS_ABOVE_ZERO = 3.0


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect with its standard error, two-sided interval, and p-value against no effect."""

    value: float
    se: float
    #: None where the interval cannot be bounded
    ci_low: float | None
    ci_high: float | None
    p: float
    #: why not
    unbounded: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of the mean of (treated - r control): ``treated - 2 r both + r^2 control``."""

    treated: float
    both: float
    control: float

    def variance(self, ratio: float) -> float:
        return self.treated - 2.0 * ratio * self.both + ratio**2 * self.control


def absolute_effect(tau: float, variance: float, freedom: float, confidence: float) -> Effect:
    """``tau +- t sqrt(variance)``."""
    se = sqrt(variance)
    half = float(stdtrit(freedom, (1.0 + confidence) / 2.0)) * se
    return Effect(tau, se, tau - half, tau + half, 2.0 * float(stdtr(freedom, -abs(tau) / se)))


def relative_effect(
    tau: float, base: float, spread: Spread, freedom: float, confidence: float
) -> tuple[Effect | None, str | None]:
    """``tau / base`` with Fieller's interval; or None and the reason, where the base is too close to zero.

    ``freedom``: degrees of freedom of the absolute effect. The standard error is the delta method's.
    """
    error = sqrt(max(spread.control, 0.0))
    if not base > ERRORS_ABOVE_ZERO * error:
        return None, (
            f"control's mean of {base:.4g} is not {ERRORS_ABOVE_ZERO:g} of its standard errors ({error:.4g}) above"
            " zero: there is nothing to be relative to"
        )
    value = tau / base
    t = float(stdtrit(freedom, (1.0 + confidence) / 2.0))
    p = 2.0 * float(stdtr(freedom, -abs(tau) / sqrt(spread.variance(1.0))))
    se = sqrt(max(spread.variance(1.0 + value), 0.0)) / base
    found = roots(tau, base, spread, t**2)
    if found is None:
        reason = f"cannot be bounded: control's mean is {base:.4g}, its standard error {error:.4g}, and t {t:.3g}"
        return Effect(value, se, None, None, p, reason), None
    return Effect(value, se, *found, p), None


def roots(tau: float, base: float, spread: Spread, squared: float) -> tuple[float, float] | None:
    """The ends of {rho: (tau - rho base)^2 <= squared V(1 + rho)}; None where it is no bounded interval."""
    a = base**2 - squared * spread.control
    b = tau * base + squared * (spread.control - spread.both)
    c = tau**2 - squared * spread.variance(1.0)
    if not a > 0.0:
        return None
    root = sqrt(max(b**2 - a * c, 0.0))
    low, high = (b - root) / a, (b + root) / a
    return (low, high) if isfinite(low) and isfinite(high) else None
