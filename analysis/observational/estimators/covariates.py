"""Covariates by residualisation: take out of the outcome what time-varying covariates explain of it in control cells.

Coefficients come from two-way fixed effects regression on control cells alone, so that no part of the treatment's
effect is attributed to a covariate; the outcome of every cell is then less ``X beta`` (Arkhangelsky et al. 2021,
footnote on covariates; Kranz 2022 on why the coefficients must not see treated cells).
"""

from dataclasses import dataclass

import numpy as np

from analysis.observational.estimators.twfe import two_way
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable


@dataclass(frozen=True, slots=True)
class Residualised:
    """An outcome without its covariates' part."""

    #: (N, T)
    outcome: FloatArray
    #: (K,), one for each covariate, in units of the outcome per unit of the covariate
    coefficients: FloatArray


def residualise(
    outcome: FloatArray, covariates: FloatArray, names: tuple[str, ...], control: BoolArray
) -> Residualised:
    """Regress on K covariates and two-way fixed effects over the control cells, and subtract the covariates' part.

    Args:
        outcome: (N, T).
        covariates: (K, N, T), finite wherever the outcome is used.
        names: (K,), for the messages.
        control: (N, T), cells that teach the coefficients.

    Raises:
        NotEstimable: a covariate does not vary within units and periods beyond the others.

    """
    weights = control.astype(np.float64)
    within = np.stack([_within(x, weights)[control] for x in (*covariates, outcome)])
    regressors, target = within[:-1], within[-1]
    sizes = np.sqrt(np.einsum("kc,kc->k", regressors, regressors))
    levels = np.array([np.abs(x[control]).max(initial=0.0) for x in covariates]) * np.sqrt(control.sum())
    for name, size, level in zip(names, sizes, levels, strict=True):
        if size <= 1e-10 * max(level, np.finfo(float).tiny):
            raise NotEstimable(
                f"covariate {name} does not vary beyond its unit and period levels in control cells: leave it out "
                "(fixed effects and weights already absorb it)"
            )
    scaled = regressors / sizes[:, None]
    coefficients, _, rank, _ = np.linalg.lstsq(scaled.T, target, rcond=1e-10)
    if rank < len(names):
        raise NotEstimable(f"covariates {', '.join(names)} are linearly dependent in control cells: leave one out")
    coefficients = coefficients / sizes
    return Residualised(outcome - np.tensordot(coefficients, covariates, axes=1), coefficients)


def _within(values: FloatArray, weights: FloatArray) -> FloatArray:
    fit = two_way(values, weights)
    residual: FloatArray = values - fit.units[:, None] - fit.periods
    return residual
