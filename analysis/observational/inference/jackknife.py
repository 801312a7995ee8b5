"""Jackknife over units or clusters, in closed form: the weights stay, what is left is renormalised.

Arkhangelsky et al. 2021, algorithm 3. With ``u_i = Ybar_i,post - lambda'Y_i,pre`` and ``s = omega'u_co``, leaving out a
group g gives ``(sum u_tr - sum_g u_tr)/(N1 - N1_g) - (s - sum_g omega u)/(1 - sum_g omega)``: O(N) for all groups.
"""

import numpy as np

from analysis.observational.estimators.twfe import fit_twfe, leave_unit_out
from analysis.observational.panel_fit import CohortFit, MaskFit, PanelFit, treated_rows
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

#: weight that must be left when a group goes, or there is nothing to renormalise
LEAST_WEIGHT = 1e-9


def jackknife_se(fit: PanelFit, groups: IntArray) -> float:
    """Standard error ``sqrt((G-1)/G sum (tau_(-g) - mean)^2)``.

    Args:
        fit: of DID, SC, DIFP, SDID (any cohorts) or two-way fixed effects.
        groups: (N,), the cluster of each unit of the panel; `panel_fit.group_codes`.

    Raises:
        NotEstimable: one treated unit, one control that carries all weight, or a method without a closed form.

    """
    refuse_one_treated(fit, groups)
    effects = leave_out_effects(fit, groups)
    if isinstance(fit, CohortFit):
        _refuse_whole_weight(fit, groups)
    effects = effects[np.isfinite(effects)]
    return float(np.sqrt((len(effects) - 1) / len(effects) * np.sum((effects - effects.mean()) ** 2)))


def leave_out_effects(fit: PanelFit, groups: IntArray) -> FloatArray:
    """(G,) effects without each group; NaN where nothing is left to compare, or the group holds no usable unit.

    Raises:
        NotEstimable: a masking method other than two-way fixed effects.

    """
    if isinstance(fit, CohortFit):
        return _weighted(fit, groups)
    if fit.estimator.fit is not fit_twfe:
        raise NotEstimable(
            f"the jackknife of {fit.estimator.title} has no closed form, and dropping units changes its penalties: use "
            "placebo, bootstrap or conditional"
        )
    panel = fit.panel
    if len(np.unique(groups)) < len(groups):
        raise NotEstimable("the jackknife of two-way fixed effects is by units: use the bootstrap for clusters")
    effects = leave_unit_out(panel.outcome, panel.usable, panel.treated)
    effects[~panel.usable.any(axis=1)] = np.nan
    return effects


def _weighted(fit: CohortFit, groups: IntArray) -> FloatArray:
    n_groups = int(groups.max()) + 1
    cells, overall, weight_left = np.zeros(n_groups), np.zeros(n_groups), np.ones(n_groups)
    present = np.zeros(n_groups, dtype=np.bool_)
    for block, one in zip(fit.cohorts.blocks, fit.fits, strict=True):
        n_control, changes = block.n_control, one.changes
        of_row = groups[block.rows]
        control, treated = of_row[:n_control], of_row[n_control:]
        weighted = one.unit_weights * changes[:n_control]
        weight = np.bincount(control, one.unit_weights, n_groups)
        n_left = block.n_treated - np.bincount(treated, minlength=n_groups)
        treated_sum = changes[n_control:].sum() - np.bincount(treated, changes[n_control:], n_groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            synthetic = (weighted.sum() - np.bincount(control, weighted, n_groups)) / (1.0 - weight)
            mean = np.where(n_left > 0, treated_sum / n_left, 0.0)
        overall += n_left * block.n_post * (mean - synthetic)
        cells += n_left * block.n_post
        weight_left = np.minimum(weight_left, 1.0 - weight)
        present[of_row] = True
    estimable = present & (weight_left > LEAST_WEIGHT) & (cells > 0)
    effects: FloatArray = np.divide(overall, cells, out=np.full(n_groups, np.nan), where=estimable)
    return effects


def _refuse_whole_weight(fit: CohortFit, groups: IntArray) -> None:
    for block, one in zip(fit.cohorts.blocks, fit.fits, strict=True):
        control = groups[block.rows[: block.n_control]]
        weight = np.bincount(control, one.unit_weights)[control]
        whole = np.flatnonzero(weight >= 1.0 - LEAST_WEIGHT)
        if whole.size:
            raise NotEstimable(
                f"the control {block.units[whole[0]]} (or its cluster) carries all the weight: without it nothing is "
                "left to compare with, and the jackknife is not defined; use placebo"
            )


def refuse_one_treated(fit: PanelFit, groups: IntArray) -> None:
    """Raise where each resample would stand or fall with one treated unit (or cluster)."""
    if isinstance(fit, MaskFit):
        names, numbers = ["the panel"], [len(np.unique(groups[treated_rows(fit.panel)]))]
    else:
        names = [f"the cohort from {block.periods[block.n_pre]}" for block in fit.cohorts.blocks]
        numbers = [len(np.unique(groups[block.rows[block.n_control :]])) for block in fit.cohorts.blocks]
    for name, number in zip(names, numbers, strict=True):
        if number < 2:
            raise NotEstimable(
                f"{name} has one treated unit or cluster: its own noise cannot be resampled, so jackknife and "
                "bootstrap would report only the controls' (too small); use placebo or conditional"
            )
