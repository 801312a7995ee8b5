"""Who responds in a running experiment, and which clusters carry its number. Fixed-horizon, a function of closed days.

Effects are relative: what each unit sold is measured in its own level, so that a large product is no group of its own.
Where units are seen under both arms the level is the middle of the two, and an effect s in levels is ``s / (1 - s/2)``
of control; where each keeps its arm it is what the unit sold before the start, and control's mean is what all are
compared with. Effects are means over units, each counting the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from analysis.heterogeneity.attributes import matrix_of
from analysis.heterogeneity.cluster_day_influence import cluster_day_influence
from analysis.heterogeneity.group_attributes import AttributeLevels, levels_of
from analysis.heterogeneity.group_statistics import UnitEffects, group_statistics
from analysis.heterogeneity.groups import LEAST_CLUSTERS, average_effect, find_groups
from analysis.heterogeneity.influence import Influence
from analysis.heterogeneity.panel_effects import BOTH_ARMS, unit_effects
from analysis.heterogeneity.scores import projection
from analysis.panel_data.analysis_context import CONFIDENCE, Case, Metric
from analysis.panel_data.attribute_table import Attributes
from analysis.panel_data.design_facts import is_undrawn, method_of
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel, mean_of_cells
from analysis.panel_data.study import State, outcome
from analysis.randomised.cluster_day import cluster_day_difference
from analysis.randomised.effects import cluster_weights, draws_of
from controller.definition.parameters import Triggered
from controller.errors import NotEstimable
from controller.validation.cluster_minima import CLUSTERS_FOR_HETEROGENEITY

#: attributes that a group joins: a report is read by people, and three take minutes in a large shop
DEPTH = 2
#: days before the start on which a unit must have sold, where they tell its level
FEWEST_DAYS = 7
UNDRAWN = (
    "something else than a coin decided when a unit was treated: a difference between groups may be one of who was "
    "treated when"
)
UNSEEN_STOCK = (
    "the definition leaves sold-out unit-days out, and stock is read by the analysis alone: influence would be that on "
    "another number"
)

Part = Literal["average", "level", "slope", "group"]


@dataclass(frozen=True, slots=True)
class Response:
    """The effect of a part of the units, as a share of what they would have sold under control."""

    #: slope: by how much the effect differs for one more of an attribute's column, others equal
    part: Part
    name: str
    effect: float
    low: float
    high: float
    units: int
    clusters: int
    #: of groups: is the effect that of the others? Adjusted for all groups tested
    q: float | None = None
    #: of groups: it differs, at a false-discovery rate of 5 %
    named: bool | None = None


@dataclass(frozen=True, slots=True)
class Responses:
    """Of one metric and arm; without a row there is a reason."""

    rows: tuple[Response, ...]
    #: conjunctions of levels that were looked at
    looked_at: int
    notes: tuple[str, ...]
    reason_absent: str | None = None


def responses(case: Case, attributes: Attributes, metric: Metric, arm: int) -> Responses:
    """Effects of an arm by level and by group of what the catalog said of units when the experiment was registered."""
    try:
        return _responses(case, attributes, metric, arm)
    except NotEstimable as reason:
        return Responses((), 0, (), str(reason))


def _responses(case: Case, attributes: Attributes, metric: Metric, arm: int) -> Responses:
    if is_undrawn(case.roster.experiment):
        raise NotEstimable(UNDRAWN)
    if not attributes.columns:
        raise NotEstimable("the catalog gave units no category and no attributes when the experiment was registered")
    panel, own, notes = _in_own_levels(case, metric, arm)
    shown, rows, said = unit_effects(panel, _blocks(case))
    units = [panel.units[row] for row in rows]
    groups = int(shown.cluster.max()) + 1
    if groups < CLUSTERS_FOR_HETEROGENEITY:
        raise NotEstimable(
            f"{groups} clusters (or blocks of days) were compared: who responds cannot be told below "
            f"{CLUSTERS_FOR_HETEROGENEITY}; the average effect stands"
        )
    known = attributes.of(units)
    levels = levels_of(known.columns, len(units))
    relative = _to_control(shown, own)
    number = np.unique(rows, return_inverse=True)[1].ravel()
    found = [_average(shown, relative, number), *_levels(shown, levels, relative, number)]
    notes = [*notes, *said, *levels.notes]
    slopes, why = _slopes(shown, known)
    looked, why_no_groups = 0, ""
    try:
        searched = find_groups(shown, levels, rng=_halves(case), depth=DEPTH, level=CONFIDENCE)
    except NotEstimable as reason:
        why_no_groups = f"no groups were searched for: {reason}"
    else:
        looked = sum(one.conjunctions for one in searched.looked)
        found += [
            Response(
                part="group",
                name=one.name,
                effect=relative(one.effect),
                low=relative(one.low),
                high=relative(one.high),
                units=_distinct(number, one.members),
                clusters=one.clusters,
                q=one.q_value,
                named=one.named,
            )
            for one in searched.groups
        ]
        notes += [note for note in searched.notes if note not in notes]
    return Responses((*found, *slopes), looked, tuple(one for one in (*notes, why, why_no_groups) if one))


def _in_own_levels(case: Case, metric: Metric, arm: int) -> tuple[Panel, bool, list[str]]:
    """What was sold in each unit's own level, whether units were seen under both arms, and who is left out."""
    days = case.days
    values = outcome(days, metric)
    treated, control = np.isfinite(values) & (days.state == arm), np.isfinite(values) & (days.state == 0)
    before = np.isfinite(values) & (days.state == State.PRE_PERIOD)
    seen = treated.any(axis=0) | control.any(axis=0)
    both = treated.any(axis=0) & control.any(axis=0)
    if not treated.any():
        raise NotEstimable("no usable unit-day is treated yet")
    own = bool(both.sum() >= BOTH_ARMS * max(int(seen.sum()), 1))
    if own:
        level = 0.5 * (mean_of_cells(values, treated, 0) + mean_of_cells(values, control, 0))
        kept = both & (level > 0)
    else:
        level = mean_of_cells(values, before, 0)
        kept = seen & (level > 0) & ((before & (np.nan_to_num(values) > 0)).sum(axis=0) >= FEWEST_DAYS)
    if not kept.any():
        why = "no unit sold anything under both arms" if own else f"no unit sold on {FEWEST_DAYS} days before the start"
        raise NotEstimable(f"{why}: there is no level to measure it in")
    gone = int(seen.sum()) - int(kept.sum())
    why = "sold nothing, or were seen under one arm only" if own else f"sold on fewer than {FEWEST_DAYS} days before"
    notes = [f"{gone} unit(s) {why}: left out"] if gone else []
    code = np.where(treated, 1, np.where(control | before, 0, -1))
    units = [unit for unit, stays in zip(case.units, kept, strict=True) if stays]
    panel = Panel(
        units=tuple(units),
        periods=tuple(str(one) for one in np.arange(len(values)) + np.datetime64(days.first_day)),
        outcome=np.ascontiguousarray((values[:, kept] / level[kept]).T),
        arm=np.ascontiguousarray(code[:, kept].T).astype(np.int64),
        clusters=tuple(case.roster.cluster_of[unit] for unit in units),
    )
    return panel, own, notes


def _blocks(case: Case) -> IntArray:
    """(T,) the draw that decided each day; the first of several."""
    return np.asarray(draws_of(method_of(case.roster.experiment), case).argmax(axis=1), dtype=np.int64)


def _to_control(shown: UnitEffects, own: bool) -> Callable[[float], float]:
    """From an effect in units' levels to one relative to control."""
    if own:
        return lambda s: s / max(1.0 - s / 2.0, 1e-9)
    assert shown.treated is not None
    grown = 1.0 + float(shown.value[~shown.treated].mean())
    if grown <= 0:
        raise NotEstimable("units under control sold nothing since the start: there is nothing to compare with")
    return lambda change: change / grown


def _distinct(number: IntArray, members: BoolArray) -> int:
    return len(np.unique(number[members]))


def _average(shown: UnitEffects, relative: Callable[[float], float], number: IntArray) -> Response:
    effect, low, high = (relative(value) for value in average_effect(shown, CONFIDENCE))
    return Response(
        "average", "all units", effect, low, high, len(np.unique(number)), int(shown.cluster.max()) + 1
    )  # fmt: skip


def _levels(
    shown: UnitEffects, levels: AttributeLevels, relative: Callable[[float], float], number: IntArray
) -> list[Response]:
    """Every level of every attribute that has clusters enough, on all units: nothing was searched for."""
    names = [name for one in levels.attributes for name in one.levels]
    members = np.stack([one.code == code for one in levels.attributes for code in range(len(one.levels))])
    found = group_statistics(shown, members)
    arms = 1 if shown.treated is None else 2
    rows = []
    for k, name in enumerate(names):
        clusters = int(found.clusters[k])
        if clusters < LEAST_CLUSTERS * arms or np.isnan(found.effect[k]):
            continue
        wide = float(student.ppf(0.5 + CONFIDENCE / 2, clusters - arms)) * float(found.error[k])
        at = float(found.effect[k])
        spans = (relative(at), relative(at - wide), relative(at + wide))
        rows.append(Response("level", name, *spans, _distinct(number, members[k]), clusters))
    return rows


def _slopes(shown: UnitEffects, attributes: Attributes) -> tuple[list[Response], str]:
    """The best linear projection of units' effects on their attributes; why there is none."""
    try:
        matrix, whole = matrix_of(attributes, drop_incomplete=True)
    except NotEstimable as reason:
        return [], f"no linear projection: {reason}"
    value, cluster = shown.value[whole], np.unique(shown.cluster[whole], return_inverse=True)[1].ravel()
    if shown.treated is not None:
        # each arm about its mean, controls turned round, at the odds of the arms: its mean at given attributes is the
        # effect there less the average effect
        arm = shown.treated[whole]
        share = float(arm.mean())
        if not 0 < share < 1:
            return [], "no linear projection: units with all attributes are in one arm"
        value = np.where(arm, (value - value[arm].mean()) / share, -(value - value[~arm].mean()) / (1 - share))
    groups = int(cluster.max()) + 1
    if groups - matrix.matrix.shape[1] < CLUSTERS_FOR_HETEROGENEITY:
        return [], f"no linear projection: {groups} clusters for {matrix.matrix.shape[1]} columns of attributes"
    lines = projection(value, matrix.matrix, cluster.astype(np.int64), CONFIDENCE)[1:]
    units = len(value)
    return [
        Response("slope", name, one.value, one.low, one.high, units, groups)
        for name, one in zip(matrix.columns, lines, strict=True)
    ], ""


def _halves(case: Case) -> np.random.Generator:
    """The same halves on every day: a group is not named because the coin was tossed again."""
    return np.random.default_rng(int(case.roster.design_hash[:8], 16))


def influence(case: Case, metric: Metric, arm: int) -> Influence | str:
    """What each cluster moves the published absolute effect by; or why that cannot be said."""
    experiment = case.roster.experiment
    if isinstance(experiment.design, Triggered):
        return "influence is computed for estimates by cluster and day, not for entries with clocks of their own"
    if experiment.when_sold_out != "zero":
        return UNSEEN_STOCK
    days = case.days
    values = outcome(days, metric)
    values[(days.state != 0) & (days.state != arm) & (days.state != State.PRE_PERIOD)] = np.nan
    weight = cluster_weights(days) if experiment.target == "total" else None
    try:
        return cluster_day_influence(
            values, np.asarray(days.state == arm), days.cluster, case.roster.clusters, _effect,
            draws_of(method_of(experiment), case), weight, only_clusters=True,
        )  # fmt: skip
    except NotEstimable as reason:
        return str(reason)


def _effect(
    values: FloatArray, treated: BoolArray, cluster: IntArray, draws: BoolArray | None, weight: FloatArray | None
) -> float:
    return cluster_day_difference(values, treated, cluster, draws=draws, weight=weight).absolute.value


def as_registered(units: Sequence[str], given: Mapping[str, Sequence[Any]]) -> Attributes:
    """What a registration carries of its units."""
    return Attributes("the catalog at registration", tuple(units), dict(given))
