"""One estimator on one panel: by cohorts where it is weighted, by masking where it imputes."""

from dataclasses import dataclass

import numpy as np

from analysis.observational.cohorts import Block, Cohorts, check_panel, cohorts_of
from analysis.observational.estimators.by_name import ESTIMATORS, Estimator, MaskedEstimator, WeightedEstimator
from analysis.observational.estimators.masked import MaskedFit
from analysis.observational.estimators.weighted import WeightedFit
from analysis.panel_data.panel import FloatArray, IntArray, Panel


@dataclass(frozen=True, slots=True)
class CohortFit:
    """A weighted estimator on each cohort."""

    estimator: WeightedEstimator
    cohorts: Cohorts
    fits: tuple[WeightedFit, ...]

    @property
    def effect(self) -> float:
        """Mean over the treated cells of all cohorts."""
        return float(self.cohorts.shares @ [fit.effect for fit in self.fits])

    @property
    def block(self) -> Block:
        """The earliest cohort; the only one of a block design."""
        return self.cohorts.blocks[0]


@dataclass(frozen=True, slots=True)
class MaskFit:
    """A masking estimator on the whole panel."""

    estimator: MaskedEstimator
    panel: Panel
    fit: MaskedFit

    @property
    def effect(self) -> float:
        """Mean over the usable treated cells."""
        return self.fit.effect


PanelFit = CohortFit | MaskFit


def fit_panel(panel: Panel, method: str, cohorts: Cohorts | None = None) -> PanelFit:
    """Fit one method of `ESTIMATORS`; ``cohorts`` spares cutting the panel again.

    Raises:
        InvalidPanel, NotEstimable: as `check_panel`, `cohorts_of` and the estimator.

    """
    estimator: Estimator = ESTIMATORS[method]
    if isinstance(estimator, WeightedEstimator):
        cohorts = cohorts or cohorts_of(panel)
        fits = tuple(estimator.fit(block.outcome, block.n_control, block.n_pre) for block in cohorts.blocks)
        return CohortFit(estimator, cohorts, fits)
    check_panel(panel)
    return MaskFit(estimator, panel, estimator.fit(panel.outcome, panel.usable, panel.treated))


def group_codes(panel: Panel) -> IntArray:
    """(N,): the cluster of each unit as a number; each unit its own where none are given."""
    if panel.clusters is None:
        return np.arange(len(panel.units))
    codes: IntArray = np.unique(np.asarray(panel.clusters), return_inverse=True)[1].astype(np.int64)
    return codes


def treated_rows(panel: Panel) -> IntArray:
    """Rows of the units with a usable treated cell."""
    return np.flatnonzero((panel.treated & panel.usable).any(axis=1))


def never_treated_rows(panel: Panel) -> IntArray:
    """Rows of the units without a treated cell and with a usable one."""
    return np.flatnonzero(~panel.treated.any(axis=1) & panel.usable.any(axis=1))


def cohort_effects(cohorts: Cohorts, effects: list[FloatArray]) -> FloatArray:
    """(B,) overall effects from (B,) effects of each cohort."""
    overall: FloatArray = cohorts.shares @ np.stack(effects)
    return overall
