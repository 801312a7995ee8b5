"""Relative effects at every look of a running sequence.

For each relative effect rho, the differences ``treated - (1 + rho) control`` of the closed blocks add up to a
martingale whose drift is zero where the effects over the blocks so far are rho of control's outcomes. So the rho that
a look does not rule out are those with ``|sum of (D - rho b)| <= bound(S(rho))``, D the difference, b control's mean
and ``S(rho)`` the summed variance of ``treated - (1 + rho) control``: always-valid with the bound that is
(`controller.decisions.always_valid_bounds.two_sided_bound`), fixed-horizon with ``t sqrt(S)``, which is Fieller's. The
mixing, fixed before
the start for rho = 0, is scaled by ``(1 + (1 + rho)^2) / 2``, as the variance would be if both arms vary alike. At
rho = 0 each asks what the absolute interval asks: both hold zero, or neither does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray
from analysis.randomised.relative_effect import ERRORS_ABOVE_ZERO
from analysis.sequential.block_sums import BlockSum

#: turns of the fixed point: the logarithm in the bound moves little with rho
TURNS, CONVERGED = 50, 1e-12


@dataclass(frozen=True, slots=True)
class RelativeLooks:
    """(K,) relative effects with both intervals; NaN where there is none, or it cannot be bounded."""

    effect: FloatArray
    low: FloatArray
    high: FloatArray
    fixed_low: FloatArray
    fixed_high: FloatArray


def relative_looks(blocks: Sequence[BlockSum], mixing: float, alpha: float, squared: FloatArray) -> RelativeLooks:
    """At each look over the blocks so far; ``squared`` (K,): t squared of the fixed intervals, NaN where none."""
    total = np.cumsum([block.difference for block in blocks])
    base = np.cumsum([block.control_mean for block in blocks])
    treated, both, control = np.cumsum([block.parts for block in blocks], axis=0).T
    known = base > ERRORS_ABOVE_ZERO * np.sqrt(control)
    # S(rho) = p[0] + p[1] rho + p[2] rho^2, and the mixing alike
    spread = np.stack([treated - 2.0 * both + control, 2.0 * (control - both), control])
    prior = mixing * np.array([1.0, 1.0, 0.5])[:, np.newaxis]
    effect = np.where(known, total / np.where(known, base, 1.0), np.nan)
    sides = []
    for sign in (-1.0, 1.0):
        rho = np.zeros(len(total))
        for _ in range(TURNS):
            mixed = _at(prior, rho)
            logarithm = np.log((_at(spread, rho) + mixed) / (mixed * alpha**2))
            found, bounded = _root(total, base, spread + prior, logarithm, sign)
            bounded &= known
            moved = np.abs(np.where(bounded, found - rho, 0.0)).max(initial=0.0)
            rho = np.where(bounded, found, 0.0)
            if moved <= CONVERGED:
                break
        sides.append(np.where(bounded, rho, np.nan))
    fixed = []
    for sign in (-1.0, 1.0):
        found, bounded = _root(total, base, spread, np.nan_to_num(squared), sign)
        fixed.append(np.where(bounded & known & np.isfinite(squared), found, np.nan))
    return RelativeLooks(effect, sides[0], sides[1], fixed[0], fixed[1])


def _at(form: FloatArray, rho: FloatArray) -> FloatArray:
    return np.asarray(form[0] + rho * (form[1] + rho * form[2]))


def _root(
    total: FloatArray, base: FloatArray, form: FloatArray, factor: FloatArray, sign: float
) -> tuple[FloatArray, BoolArray]:
    """One end of {rho: (total - rho base)^2 <= factor form(rho)}, and where the set is a bounded interval."""
    a = base**2 - factor * form[2]
    b = total * base + factor * form[1] / 2.0
    c = total**2 - factor * form[0]
    bounded = a > 0.0
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    return np.asarray((b + sign * root) / np.where(bounded, a, 1.0)), bounded
