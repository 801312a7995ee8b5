"""Placebos: the same estimator where nothing was treated, by enumeration where there are few ways to place it.

Arkhangelsky et al. 2021, algorithm 4: among the never-treated units a subset as large as the treated group plays its
role; the spread (population form) of the effects is the standard error. It assumes that treated and control units err
alike, so time placebos belong beside it.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np

from analysis.observational.estimators.by_name import MaskedEstimator
from analysis.observational.inference.replications import Progress, replicate, silent
from analysis.observational.panel_fit import MaskFit, PanelFit, cohort_effects, never_treated_rows, treated_rows
from analysis.panel_data.panel import FloatArray, IntArray, Panel
from controller.errors import NotEstimable

#: fewer placebos than this give no standard error worth the name
FEWEST = 5


@dataclass(frozen=True, slots=True)
class Placebos:
    """Effects of no treatment."""

    #: (B,)
    effects: FloatArray
    #: every subset of the controls was used, so no chance is left in the number
    enumerated: bool

    @property
    def standard_error(self) -> float:
        """Population standard deviation of the placebo effects."""
        return float(self.effects.std())

    def p_value(self, effect: float) -> float:
        """Share of placebos, the real effect among them, at least as large in size as the real one."""
        larger = int(np.count_nonzero(np.abs(self.effects) >= abs(effect)))
        return (1 + larger) / (1 + len(self.effects))


def subsets_of(n: int, size: int, draws: int, rng: np.random.Generator) -> tuple[IntArray, bool]:
    """(B, size) rows, and whether they are all subsets: enumerated when there are at most ``draws`` of them."""
    if comb(n, size) <= draws:
        return np.array(list(combinations(range(n), size)), dtype=np.int64).reshape(-1, size), True
    return np.stack([rng.choice(n, size, replace=False) for _ in range(draws)]), False


def placebo_effects(
    fit: PanelFit, draws: int, rng: np.random.Generator, jobs: int = 1, progress: Progress = silent
) -> Placebos:
    """Move the treatment to never-treated units: to every subset of them, or to ``draws`` random ones.

    Raises:
        NotEstimable: too few never-treated units to play both roles.

    """
    if isinstance(fit, MaskFit):
        return _masked(fit, draws, rng, jobs, progress)
    blocks = fit.cohorts.blocks
    n_control, sizes = blocks[0].n_control, [block.n_treated for block in blocks]
    _refuse_few(n_control, sum(sizes))
    control = blocks[0].outcome[:n_control]
    subsets, enumerated = subsets_of(n_control, sum(sizes), draws, rng)
    if len(blocks) > 1:
        # who joins which cohort is part of the draw
        subsets, enumerated = rng.permuted(subsets, axis=1), False
    parts = np.split(subsets, np.cumsum(sizes)[:-1], axis=1)
    effects = [
        fit.estimator.placebo(control, block.n_pre, part, one)
        for block, part, one in zip(blocks, parts, fit.fits, strict=True)
    ]
    progress(len(subsets))
    return Placebos(cohort_effects(fit.cohorts, effects), enumerated)


def _masked(fit: MaskFit, draws: int, rng: np.random.Generator, jobs: int, progress: Progress) -> Placebos:
    panel = fit.panel
    treated, never = treated_rows(panel), never_treated_rows(panel)
    _refuse_few(len(never), len(treated))
    patterns = panel.treated[treated]
    subsets, enumerated = subsets_of(len(never), len(treated), draws, rng)
    if (patterns != patterns[0]).any():
        subsets, enumerated = rng.permuted(subsets, axis=1), False

    controls = controls_only(panel, never)

    def effect(subset: IntArray) -> float:
        mask = np.zeros(controls.outcome.shape, dtype=np.bool_)
        mask[subset] = patterns
        return masked_effect(fit, controls, mask)

    return Placebos(np.array(replicate(effect, subsets, jobs, progress)), enumerated)


def controls_only(panel: Panel, rows: IntArray) -> Panel:
    """The panel of these rows."""
    return replace(
        panel,
        units=tuple(panel.units[k] for k in rows),
        outcome=panel.outcome[rows],
        arm=panel.arm[rows],
        exposure=None if panel.exposure is None else panel.exposure[rows],
        left_out=tuple((reason, mask[rows]) for reason, mask in panel.left_out),
        covariates=tuple((name, values[rows]) for name, values in panel.covariates),
        clusters=None if panel.clusters is None else tuple(panel.clusters[k] for k in rows),
    )


def masked_effect(fit: MaskFit, panel: Panel, treated: np.ndarray) -> float:
    """Effect of a masking estimator on another mask, its penalties kept."""
    estimator: MaskedEstimator = fit.estimator
    return estimator.refit(panel.outcome, panel.usable, treated, fit.fit).effect


def _refuse_few(n_control: int, n_treated: int) -> None:
    if n_control - n_treated < 1 or comb(n_control, n_treated) < FEWEST:
        raise NotEstimable(
            f"placebos need never-treated units for both roles: {n_control} cannot stand in for {n_treated} treated "
            "unit(s) and still be controls; use jackknife or bootstrap, or add control units"
        )
