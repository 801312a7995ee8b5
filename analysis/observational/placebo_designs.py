"""Panels in which the effect is known to be zero, drawn so that they look like real ones.

The process of the placebo simulations of Arkhangelsky, Athey, Hirshberg, Imbens, Wager (AER 2021, section 3), also
used by Athey, Imbens, Qu, Viviano (arXiv 2508.21536). From a real panel, standardised:

    Y = F + M + E;  L = F + M its best rank-4 approximation, F the row and column means of L, E what is left
    noise: each unit N(0, Sigma), Sigma the covariance of a pooled AR(2) on E, scaled to the norm of E'E/N
    assignment: Bernoulli with a logit of the policy on root(N) times the four left singular vectors, capped

The last ``n_post`` periods of the drawn units are called treated.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

RANK = 4
#: a log-odds of this size means that the logit runs off to certainty
CERTAIN = 25.0


@dataclass(frozen=True, slots=True)
class PlaceboDesign:
    """Which panel, which policy decides who is treated, and which parts of the process are switched on."""

    #: data set, outcome column, and policy column ("random": every unit equally likely)
    data: str
    outcome: str
    policy: str
    #: most units, and how many periods, that are treated
    n_treated: int = 10
    n_post: int = 10
    #: F and M, the two-way and the interactive part
    additive: bool = True
    interactive: bool = True
    noise: Literal["ar2", "independent", "none"] = "ar2"
    #: draw so many units with replacement instead of keeping the panel's own
    resample: int | None = None


#: the 19 designs of Tables 2-4 of the AER paper, under the names of its published results
SDID_DESIGNS = {
    "baseline": PlaceboDesign("cps", "log_wage", "min_wage"),
    "no.corr": PlaceboDesign("cps", "log_wage", "min_wage", noise="independent"),
    "no.M": PlaceboDesign("cps", "log_wage", "min_wage", interactive=False),
    "no.F": PlaceboDesign("cps", "log_wage", "min_wage", additive=False),
    "only.noise": PlaceboDesign("cps", "log_wage", "min_wage", additive=False, interactive=False),
    "no.noise": PlaceboDesign("cps", "log_wage", "min_wage", noise="none"),
    "gun.law": PlaceboDesign("cps", "log_wage", "open_carry"),
    "abortion": PlaceboDesign("cps", "log_wage", "abort_ban"),
    "random": PlaceboDesign("cps", "log_wage", "random"),
    "hours": PlaceboDesign("cps", "hours", "min_wage"),
    "urate": PlaceboDesign("cps", "urate", "min_wage"),
    "T1.is.one": PlaceboDesign("cps", "log_wage", "min_wage", n_post=1),
    "N1.is.one": PlaceboDesign("cps", "log_wage", "min_wage", n_treated=1),
    "blocksize.is.one": PlaceboDesign("cps", "log_wage", "min_wage", n_treated=1, n_post=1),
    # the tables do not print these two numbers of treated units: 10 % of the units, at random, is our reading
    "resample.200": PlaceboDesign("cps", "log_wage", "random", n_treated=20, resample=200),
    "resample.400": PlaceboDesign("cps", "log_wage", "random", n_treated=40, resample=400),
    "penn.democracy": PlaceboDesign("penn", "log_gdp", "dem"),
    "penn.education": PlaceboDesign("penn", "log_gdp", "educ"),
    "penn.random": PlaceboDesign("penn", "log_gdp", "random"),
}

#: designs of Tables 2 and A1 of the TROP paper, by the names of the published file: dataset, then its panel's suffix
TROP_DESIGNS = {
    "CPS logwage": PlaceboDesign("cps", "log_wage", "min_wage"),
    "CPS urate": PlaceboDesign("cps", "urate", "min_wage"),
    "PWT": PlaceboDesign("penn", "log_gdp", "dem"),
    "Smoking": PlaceboDesign("california_prop99", "packs_per_capita", "random"),
}


@dataclass(frozen=True, slots=True)
class Components:
    """What a design draws from."""

    #: (N, T)
    additive: FloatArray
    interactive: FloatArray
    #: (T, T) a root R of the noise covariance, Sigma = R R'
    noise_root: FloatArray
    #: (N,) chance of being drawn into treatment, before the cap
    propensity: FloatArray


def components(Y: FloatArray, policy: BoolArray | None, design: PlaceboDesign) -> Components:
    """Estimate the process on a balanced panel ``Y`` (N, T); ``policy`` (N,) says who had it, None is random.

    Raises NotEstimable where cells are missing.
    """
    if not np.isfinite(Y).all():
        raise NotEstimable("the process needs a balanced panel: some cells are missing")
    n_units = len(Y)
    standard = (Y - Y.mean()) / Y.std(ddof=1)
    u, s, vt = np.linalg.svd(standard, full_matrices=False)
    low = (u[:, :RANK] * s[:RANK]) @ vt[:RANK]
    additive = low.mean(axis=1)[:, None] + low.mean(axis=0) - low.mean()
    rest = standard - low
    covariance = ar2_covariance(rest)
    if design.noise == "independent":
        covariance = np.diag(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) * (design.noise != "none")
    chance = np.full(n_units, 0.5) if policy is None else logit_fit(np.sqrt(n_units) * u[:, :RANK], policy)
    return Components(design.additive * additive, design.interactive * (low - additive), root, chance)


def draw(
    parts: Components, design: PlaceboDesign, rng: np.random.Generator, ramp: float = 0.0
) -> tuple[FloatArray, BoolArray]:
    """One panel (N, T) in standard deviations of the real one, and its treated cells (N, T).

    ``ramp`` adds to the treated cells an effect that runs in a line from ``-ramp`` to ``+ramp`` over the treated
    periods: its average is still zero, but no single number describes it any more.
    """
    n_units, n_periods = parts.additive.shape
    rows = np.arange(n_units) if design.resample is None else rng.integers(n_units, size=design.resample)
    outcome = (parts.additive + parts.interactive)[rows]
    outcome = outcome + rng.standard_normal((len(rows), n_periods)) @ parts.noise_root.T
    drawn = np.flatnonzero(rng.random(len(rows)) < parts.propensity[rows])
    if len(drawn) == 0:
        drawn = rng.integers(len(rows), size=1)
    elif len(drawn) > design.n_treated:
        drawn = rng.choice(drawn, size=design.n_treated, replace=False)
    treated = np.zeros(outcome.shape, dtype=bool)
    treated[drawn, n_periods - design.n_post :] = True
    if ramp:
        outcome[drawn, n_periods - design.n_post :] += np.linspace(-ramp, ramp, design.n_post)
    return outcome, treated


def ar2_covariance(residuals: FloatArray) -> FloatArray:
    """(T, T) stationary AR(2) covariance with pooled least-squares coefficients, scaled to the residuals."""
    now, lag1, lag2 = residuals[:, 2:].ravel(), residuals[:, 1:-1].ravel(), residuals[:, :-2].ravel()
    lags = np.column_stack([lag1, lag2])
    first, second = np.linalg.lstsq(lags, now, rcond=None)[0]
    n_units, n_periods = residuals.shape
    correlation = np.ones(n_periods)
    correlation[1] = first / (1 - second)
    for lag in range(2, n_periods):
        correlation[lag] = first * correlation[lag - 1] + second * correlation[lag - 2]
    matrix = correlation[np.abs(np.subtract.outer(np.arange(n_periods), np.arange(n_periods)))]
    size = np.linalg.norm(residuals.T @ residuals / n_units) / np.linalg.norm(matrix)
    return np.asarray(size * matrix)


def logit_fit(factors: FloatArray, policy: BoolArray) -> FloatArray:
    """(N,) fitted chances of a logistic regression with an intercept, by Newton's method.

    Raises NotEstimable where the factors separate who has the policy from who has not.
    """
    design = np.column_stack([np.ones(len(factors)), factors])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        score = design @ beta
        if np.abs(score).max() > CERTAIN:
            break
        chance = 1 / (1 + np.exp(-score))
        gradient = design.T @ (policy - chance)
        if np.abs(gradient).max() < 1e-9:
            return np.asarray(chance)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design
        beta = beta + np.linalg.lstsq(curvature, gradient, rcond=1e-12)[0]
    raise NotEstimable("the logit of the policy on the factors has no maximum: they separate the treated units")
