"""Bootstrap over units or clusters, refitting the weights each time (Arkhangelsky et al. 2021, algorithm 2)."""

import numpy as np

from analysis.observational.inference.jackknife import refuse_one_treated
from analysis.observational.inference.replications import Progress, replicate, silent
from analysis.observational.panel_fit import CohortFit, MaskFit, PanelFit, never_treated_rows, treated_rows
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

#: a resample without a treated unit in some cohort, or without a control, is drawn again at most this often
REDRAWS = 1000


def bootstrap_effects(
    fit: PanelFit, groups: IntArray, draws: int, rng: np.random.Generator, jobs: int = 1, progress: Progress = silent
) -> FloatArray:
    """(B,) effects on resampled groups; their population standard deviation is the standard error.

    Args:
        fit: any.
        groups: (N,), the cluster of each unit of the panel; `panel_fit.group_codes`.
        draws: B.
        rng: chance.
        jobs: processes.
        progress: told after each refit.

    Raises:
        NotEstimable: one treated unit (or cluster) in some cohort.

    """
    refuse_one_treated(fit, groups)
    roles = _roles(fit)
    counts = [_resample(groups, roles, rng) for _ in range(draws)]

    def effect(count: IntArray) -> float:
        return _weighted(fit, count) if isinstance(fit, CohortFit) else _masked(fit, count)

    return np.array(replicate(effect, counts, jobs, progress))


def _roles(fit: PanelFit) -> list[IntArray]:
    """Rows of which each resample needs at least one."""
    if isinstance(fit, CohortFit):
        blocks = fit.cohorts.blocks
        return [blocks[0].rows[: blocks[0].n_control], *(block.rows[block.n_control :] for block in blocks)]
    never = never_treated_rows(fit.panel)
    return [treated_rows(fit.panel), *([never] if len(never) else [])]


def _resample(groups: IntArray, roles: list[IntArray], rng: np.random.Generator) -> IntArray:
    """(N,), how often each row is taken."""
    n_groups = int(groups.max()) + 1
    for _ in range(REDRAWS):
        counts = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)[groups]
        if all(counts[rows].any() for rows in roles):
            return counts
    raise NotEstimable(f"{REDRAWS} resamples in a row held no treated unit of some cohort: too few for a bootstrap")


def _weighted(fit: CohortFit, counts: IntArray) -> float:
    effects, cells = [], []
    for block in fit.cohorts.blocks:
        taken = np.repeat(np.arange(len(block.rows)), counts[block.rows])
        n_control = int(counts[block.rows[: block.n_control]].sum())
        effects.append(fit.estimator.fit(block.outcome[taken], n_control, block.n_pre).effect)
        cells.append((len(taken) - n_control) * block.n_post)
    return float(np.average(effects, weights=cells))


def _masked(fit: MaskFit, counts: IntArray) -> float:
    panel = fit.panel
    taken = np.repeat(np.arange(len(panel.units)), counts)
    refitted = fit.estimator.refit(panel.outcome[taken], panel.usable[taken], panel.treated[taken], fit.fit)
    return refitted.effect
