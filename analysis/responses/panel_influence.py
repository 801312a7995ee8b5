"""What moves the number of a panel: by any of the estimates whose leave-one-outs need no refit."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.heterogeneity.cluster_day_influence import cluster_day_influence
from analysis.heterogeneity.influence import Influence, did_influence, largest_moves, means_influence
from analysis.heterogeneity.weighted_influence import Weights, weighted_influence
from analysis.observational.cohorts import Block, cohorts_of
from analysis.observational.estimators.by_name import ESTIMATORS, WeightedEstimator
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from analysis.randomised.cluster_day import cluster_day_difference
from controller.errors import InvalidPanel, NotEstimable

Method = Literal["means", "cluster-day", "did", "sc", "sdid"]
#: rows of a table
SHOWN = 10


@dataclass(frozen=True, slots=True)
class PanelInfluence:
    """An influence with the names of the panel."""

    method: Method
    influence: Influence
    units: tuple[str, ...]
    periods: tuple[str, ...]
    #: whether units were clustered
    clustered: bool
    notes: tuple[str, ...]

    def largest_units(self, count: int = SHOWN) -> list[tuple[str, float]]:
        """Name, effect less the effect without it."""
        return largest_moves(self.influence.effect, self.influence.without_unit, self.units, count)

    def largest_clusters(self, count: int = SHOWN) -> list[tuple[str, float]]:
        """As `largest_units`; the units themselves where there are no clusters."""
        return self.influence.largest(count)

    def largest_periods(self, count: int = SHOWN) -> list[tuple[str, float]]:
        """As `largest_units`."""
        found = self.influence.without_day
        return largest_moves(self.influence.effect, found, self.periods, count) if found.size else []

    def as_json(self) -> dict[str, Any]:
        """Everything, by name; null where nothing would be left to estimate from."""
        found = self.influence
        return {
            "method": self.method,
            "effect": found.effect,
            "without_unit": _by_name(self.units, found.without_unit),
            "without_cluster": _by_name(found.clusters, found.without_cluster) if self.clustered else None,
            "without_period": _by_name(self.periods, found.without_day) if found.without_day.size else None,
            "turning": None if found.turning is None else list(found.turning),
            "turning_is_smallest": found.turning_is_smallest,
            "refitted": found.refitted,
            "closed_form_gap": found.closed_form_gap,
            "notes": [*self.notes, *([found.note] if found.note else [])],
        }


def panel_influence(panel: Panel, method: Method, block_days: int = 1) -> PanelInfluence:
    """Influence on one estimate of a panel.

    Args:
        panel: units, or clusters, by period; clusters as `Panel.clusters` says.
        method: ``means``: difference of the units' means over the treated periods. ``cluster-day``: the estimate of
            randomised designs, in units of the outcome per unit and day. ``did``, ``sc``, ``sdid``: block designs.
        block_days: of ``cluster-day``: consecutive treated periods that share a draw; 0: one draw decided them all.

    Raises:
        InvalidPanel, NotEstimable: as the estimators.

    """
    if method == "cluster-day":
        return _cluster_day(panel, block_days)
    cohorts = cohorts_of(panel)
    if len(cohorts.blocks) > 1:
        raise NotEstimable(
            f"{len(cohorts.blocks)} cohorts begin at different periods: influence is computed for one of them at a "
            "time; leave the units of the others out"
        )
    (block,) = cohorts.blocks
    labels = None if panel.clusters is None else np.asarray(panel.clusters)[block.rows]
    found = _of_block(block, method, np.asarray(block.units) if labels is None else labels)
    periods = block.periods if found.without_day.size else ()
    return PanelInfluence(method, found, block.units, periods, labels is not None, cohorts.notes)


def _of_block(block: Block, method: Method, labels: Any) -> Influence:
    if method == "means":
        after = block.outcome[:, block.n_pre :].mean(axis=1)
        return means_influence(after, np.arange(len(after)) >= block.n_control, labels)
    if method == "did":
        return did_influence(block.outcome, block.n_control, block.n_pre, labels)
    estimator = ESTIMATORS[method]
    assert isinstance(estimator, WeightedEstimator)
    fit = estimator.fit(block.outcome, block.n_control, block.n_pre)
    weights = Weights(fit.unit_weights, fit.time_weights, dict(fit.settings).get("zeta", 0.0))

    def refit(outcome: FloatArray, n_control: int, n_pre: int) -> float:
        return estimator.fit(outcome, n_control, n_pre).effect

    return weighted_influence(block.outcome, block.n_control, block.n_pre, weights, refit, labels)


def _cluster_day(panel: Panel, block_days: int) -> PanelInfluence:
    if len(panel.arms) > 2:
        raise InvalidPanel(f"{len(panel.arms)} arms: compare two at a time")
    labels = np.asarray(panel.units if panel.clusters is None else panel.clusters)
    names, cluster = np.unique(labels, return_inverse=True)
    treated: BoolArray = panel.treated.T
    found = cluster_day_influence(
        np.where(panel.usable, panel.outcome, np.nan).T,
        treated,
        cluster.ravel().astype(np.int64),
        tuple(str(name) for name in names),
        _estimate,
        _draws(treated, block_days),
    )
    return PanelInfluence("cluster-day", found, panel.units, panel.periods, panel.clusters is not None, ())


def _estimate(
    outcome: FloatArray, treated: BoolArray, cluster: IntArray, draws: BoolArray | None, weight: FloatArray | None
) -> float:
    return cluster_day_difference(outcome, treated, cluster, draws=draws, weight=weight).absolute.value


def _draws(treated: BoolArray, block_days: int) -> BoolArray:
    """(T, L): periods before the first treated one are the pre-period, on which nothing was drawn."""
    begun = np.flatnonzero(treated.any(axis=1))
    first = int(begun[0]) if begun.size else 0
    since = np.arange(len(treated)) - first
    block = np.zeros(len(treated), dtype=np.int64) if block_days == 0 else since // max(block_days, 1)
    drawn: BoolArray = (since[:, None] >= 0) & (block[:, None] == np.arange(int(block.max()) + 1))
    return drawn


def _by_name(names: tuple[str, ...], values: FloatArray) -> dict[str, float | None]:
    return {name: float(v) if np.isfinite(v) else None for name, v in zip(names, values, strict=True)}
