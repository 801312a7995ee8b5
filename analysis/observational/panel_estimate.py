"""The front door for panel estimates: a panel, a method and a way to tell how sure go in; a number with its reasons.

These estimates compare units that no coin chose: they are labelled observational wherever they are published beside a
design-based one.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from analysis.observational.cohorts import Cohorts, check_panel, cohorts_of
from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.observational.estimators.covariates import residualise
from analysis.observational.inference.bootstrap import bootstrap_effects
from analysis.observational.inference.conditional import conditional_variances
from analysis.observational.inference.jackknife import jackknife_se
from analysis.observational.inference.placebo import Placebos, placebo_effects
from analysis.observational.inference.replications import Progress, silent
from analysis.observational.panel_fit import (
    CohortFit,
    PanelFit,
    fit_panel,
    group_codes,
    never_treated_rows,
    treated_rows,
)
from analysis.panel_data.panel import BoolArray, Panel
from controller.errors import InvalidPanel, NotEstimable

Se = Literal["auto", "placebo", "jackknife", "bootstrap", "conditional"]
LABEL = "observational"
#: above this many controls `auto` takes the closed-form jackknife: placebos would refit for minutes
MANY_CONTROLS = 2000


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """A standard error, where it comes from, and what belongs beside it."""

    se: float
    kind: str
    #: quantile by which it is multiplied
    quantile: float
    settings: tuple[tuple[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    placebos: Placebos | None = None


@dataclass(frozen=True, slots=True)
class PanelEstimate:
    """One method's answer. What could not be computed is None, and ``warnings`` says why."""

    method: str
    effect: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    #: units, treated units, periods before and after the first treatment
    n_units: int
    n_treated: int
    n_pre: int
    n_post: int
    settings: tuple[tuple[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    #: what the estimate was computed from, for diagnostics; None where it was refused
    fit: PanelFit | None = None
    placebos: Placebos | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        names = ("method", "effect", "se", "ci_low", "ci_high", "n_units", "n_treated", "n_pre", "n_post")
        return {
            **{name: getattr(self, name) for name in names},
            "settings": {"label": LABEL, **dict(self.settings)},
            "warnings": list(self.warnings),
        }


def estimate_panel(
    panel: Panel,
    method: str,
    se: Se = "auto",
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 500,
    jobs: int = 1,
    progress: Progress = silent,
    cohorts: Cohorts | None = None,
) -> PanelEstimate:
    """Estimate the mean effect on the treated cells, with its standard error.

    Covariates of the panel are taken out of the outcome first.

    Args:
        panel: with two arms (`one_comparison` picks two of several).
        method: a name of `ESTIMATORS`.
        se: ``auto`` takes placebo, or the jackknife where controls are many or cannot play both roles.
        rng: chance, used where placebos are too many to enumerate and by the bootstrap.
        level: of the confidence interval.
        draws: placebos (all of them, if there are no more) or bootstrap resamples.
        jobs: processes for refits.
        progress: told the refits done.
        cohorts: spares cutting the panel again when several methods are asked of one panel without covariates.

    Raises:
        InvalidPanel: the panel breaks a rule.
        NotEstimable: the method cannot be used on this panel. A standard error that cannot be given is None instead,
            with its reason in ``warnings``.

    """
    if method not in ESTIMATORS:
        raise InvalidPanel(f"method is {method}: it must be one of {', '.join(ESTIMATORS)}")
    check_panel(panel)
    panel, adjusted = adjust(panel)
    fit = fit_panel(panel, method, None if adjusted else cohorts)
    if not np.isfinite(fit.effect):
        raise NotEstimable(f"{method} gave no finite effect")
    notes = [*fit.cohorts.notes] if isinstance(fit, CohortFit) else [fit.estimator.note] if fit.estimator.note else []
    uncertainty: Uncertainty | None = None
    try:
        uncertainty = uncertainty_of(fit, panel, se, rng, level=level, draws=draws, jobs=jobs, progress=progress)
        notes += uncertainty.warnings
    except NotEstimable as refusal:
        notes.append(f"no standard error ({se}): {refusal}")
    half = None if uncertainty is None else uncertainty.quantile * uncertainty.se
    return _answer(
        panel,
        method,
        effect=fit.effect,
        se=None if uncertainty is None else uncertainty.se,
        ci_low=None if half is None else fit.effect - half,
        ci_high=None if half is None else fit.effect + half,
        settings=(
            *_fit_settings(fit),
            *adjusted,
            *(() if uncertainty is None else (("se", uncertainty.kind), ("level", level), *uncertainty.settings)),
        ),
        warnings=tuple(notes),
        fit=fit,
        placebos=None if uncertainty is None else uncertainty.placebos,
    )


def estimate_all(
    panel: Panel,
    methods: tuple[str, ...],
    se: Se = "auto",
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 500,
    jobs: int = 1,
    progress: Progress = silent,
) -> tuple[PanelEstimate, ...]:
    """As `estimate_panel` for several methods; a method that refuses is there without a number, with its reason.

    Raises:
        InvalidPanel: no method could use such a panel.

    """
    check_panel(panel)
    try:
        cohorts = cohorts_of(panel) if not panel.covariates else None
    except NotEstimable:
        cohorts = None
    answers = []
    for method in methods:
        try:
            answer = estimate_panel(
                panel, method, se, rng=rng, level=level, draws=draws, jobs=jobs, progress=progress, cohorts=cohorts
            )
        except NotEstimable as refusal:
            answer = _answer(panel, method, warnings=(str(refusal),))
        answers.append(answer)
    return tuple(answers)


def one_comparison(panel: Panel, arm: str) -> Panel:
    """Control against one of several arms: the other arms' cells are left out.

    Raises:
        InvalidPanel: no such arm.

    """
    if arm not in panel.arms[1:]:
        raise InvalidPanel(f"arm is {arm}: it must be one of {', '.join(panel.arms[1:])}")
    index = panel.arms.index(arm)
    others = (panel.arm > 0) & (panel.arm != index)
    return replace(
        panel,
        arm=np.where(panel.arm == index, 1, np.minimum(panel.arm, 0)),
        arms=(panel.arms[0], arm),
        left_out=(*panel.left_out, ("another arm", others)),
    )


def adjust(panel: Panel) -> tuple[Panel, tuple[tuple[str, Any], ...]]:
    """Take the covariates out of the outcome; what was subtracted, by covariate.

    Raises:
        InvalidPanel: a covariate is missing in a usable cell.
        NotEstimable: as `residualise`.

    """
    if not panel.covariates:
        return panel, ()
    usable = panel.usable
    names = tuple(name for name, _ in panel.covariates)
    for name, values in panel.covariates:
        missing = usable & ~np.isfinite(values)
        if missing.any():
            row, column = np.argwhere(missing)[0]
            raise InvalidPanel(
                f"covariate {name} of {panel.units[row]} in {panel.periods[column]} is missing: give it in every cell "
                "that is used, or leave the cell out"
            )
    stacked = np.stack([np.where(usable, values, 0.0) for _, values in panel.covariates])
    fitted = residualise(panel.outcome, stacked, names, usable & ~panel.treated)
    coefficients = dict(zip(names, fitted.coefficients.tolist(), strict=True))
    return replace(panel, outcome=fitted.outcome, covariates=()), (("covariates", coefficients),)


def _answer(panel: Panel, method: str, **found: Any) -> PanelEstimate:
    """An estimate with the panel's counts; what was not found is None."""
    usable = panel.usable
    kept: BoolArray = np.any(usable, axis=0)
    first = int((panel.treated & usable).any(axis=0).argmax())
    numbers: dict[str, Any] = {"effect": None, "se": None, "ci_low": None, "ci_high": None, **found}
    return PanelEstimate(
        method=method,
        n_units=int(usable.any(axis=1).sum()),
        n_treated=len(treated_rows(panel)),
        n_pre=int(kept[:first].sum()),
        n_post=int(kept[first:].sum()),
        **numbers,
    )


def uncertainty_of(
    fit: PanelFit,
    panel: Panel,
    se: Se,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = 500,
    control_groups: int = 200,
    windows: int = 40,
    jobs: int = 1,
    progress: Progress = silent,
) -> Uncertainty:
    """Standard error of a fit.

    Raises:
        NotEstimable: this way of telling is not valid here; the message is the reason.

    """
    tail = 0.5 + level / 2
    normal = float(norm.ppf(tail))
    kind = automatic_se(fit, panel) if se == "auto" else se
    if kind == "placebo":
        placebos = placebo_effects(fit, draws, rng, jobs, progress)
        details: tuple[tuple[str, Any], ...] = (
            ("placebos", len(placebos.effects)),
            ("enumerated", placebos.enumerated),
            ("p_value", placebos.p_value(fit.effect)),
        )
        return Uncertainty(_positive(placebos.standard_error), kind, normal, details, placebos=placebos)
    groups = group_codes(panel)
    if kind == "jackknife":
        return Uncertainty(_positive(jackknife_se(fit, groups)), kind, normal)
    if kind == "bootstrap":
        effects = bootstrap_effects(fit, groups, draws, rng, jobs, progress)
        return Uncertainty(_positive(float(effects.std())), kind, normal, (("resamples", draws),))
    if kind == "conditional":
        variances = conditional_variances(fit, min(draws, control_groups), windows, rng, jobs, progress)
        errors = variances.standard_errors()
        notes = (
            (
                f"the pre-period holds too few windows as long as the post-period: the noise of the treated is "
                f"compared with the controls' over windows of {variances.window} period(s)",
            )
            if variances.shortened
            else ()
        )
        freedom = dict(zip(errors, variances.freedom, strict=True))
        return Uncertainty(
            _positive(errors["combined"]),
            kind,
            float(student.ppf(tail, freedom["combined"])),
            (("conditional_se", errors), ("degrees_of_freedom", freedom), ("window", variances.window)),
            notes,
        )
    raise InvalidPanel(f"se is {se}: it must be auto, placebo, jackknife, bootstrap or conditional")


def automatic_se(fit: PanelFit, panel: Panel) -> str:
    """Placebo where controls are enough and not too many, else the jackknife, else the bootstrap."""
    n_treated, n_never = len(treated_rows(panel)), len(never_treated_rows(panel))
    closed_form = isinstance(fit.estimator, WeightedEstimator) or fit.estimator is ESTIMATORS["twfe"]
    if n_never > n_treated + 4 and (n_never <= MANY_CONTROLS or n_treated < 2):
        return "placebo"
    return "jackknife" if closed_form and panel.clusters is None else "bootstrap"


def _positive(se: float) -> float:
    if not np.isfinite(se) or se <= 0:
        raise NotEstimable("the resampled effects do not vary: a standard error of zero is no standard error")
    return se


def _fit_settings(fit: PanelFit) -> tuple[tuple[str, Any], ...]:
    if isinstance(fit, CohortFit):
        parts: tuple[Any, ...] = fit.fits
        cohorts: tuple[tuple[str, Any], ...] = (
            (
                (
                    "cohorts",
                    {
                        block.periods[block.n_pre]: {"effect": one.effect, "units": block.n_treated}
                        for block, one in zip(fit.cohorts.blocks, fit.fits, strict=True)
                    },
                ),
            )
            if len(parts) > 1
            else ()
        )
    else:
        parts, cohorts = (fit.fit,), ()
    gap = max((bound for part in parts for _, bound in part.certificates), default=None)
    certificate = () if gap is None else (("relative_gap", gap),)
    return (*(parts[0].settings if len(parts) == 1 else ()), *certificate, *cohorts)
