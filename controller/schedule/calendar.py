"""A design laid out: the arm of every cluster on every day, which days are washed out, and what it costs in risk."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.definition.parameters import (
    BlockedSwitchback,
    Crossover,
    RandomDays,
    StaggeredRollout,
    TimeBound,
    Triggered,
)
from controller.designs import design_of
from controller.designs.blocked_switchback import block_starts
from controller.designs.crossover import BETWEEN
from controller.designs.design import Block
from controller.messages.inputs import Blackout
from controller.randomisation.draw import draw
from controller.randomisation.randomisation_points import MOST_CARRYOVER, risk, search
from controller.schedule.blackout import binding
from controller.time.periods import day_start

Arms = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calendar:
    """All cells of a design; G clusters, T days."""

    clusters: tuple[str, ...]
    days: tuple[date, ...]
    #: the block of each day, length T
    blocks: tuple[Block, ...]
    #: index of the arm, shape (G, T)
    arms: Arms
    #: data thrown out, shape (G, T)
    washout: Flags


def calendar(experiment: Experiment) -> Calendar:
    """Draw every block once. O(blocks x clusters log clusters)."""
    design, clusters = design_of(experiment), experiment.cluster_names()
    days = tuple(experiment.start + timedelta(days=k) for k in range(experiment.days))
    arms = np.zeros((len(clusters), len(days)), dtype=np.int8)
    blocks: list[Block] = []
    column: Arms = np.zeros(len(clusters), dtype=np.int8)
    for k, day in enumerate(days):
        if not blocks or day >= blocks[-1].end:
            block = design.block_on(experiment, day)
            if block is None:
                raise AssertionError(f"day {day} of {experiment.name} is in no block")
            drawn = design.arms(experiment, block)
            column = np.fromiter((drawn[cluster] for cluster in clusters), dtype=np.int8, count=len(clusters))
            blocks.append(block)
        else:
            blocks.append(blocks[-1])
        arms[:, k] = column
    washout = WASHOUT[type(experiment.design)](experiment, blocks, arms)
    return Calendar(clusters, days, tuple(blocks), arms, washout)


def _since_block_start(experiment: Experiment, blocks: Sequence[Block]) -> npt.NDArray[np.int_]:
    return np.array([k - (block.first - experiment.start).days for k, block in enumerate(blocks)])


def _none(experiment: Experiment, blocks: Sequence[Block], arms: Arms) -> Flags:
    return np.zeros(arms.shape, dtype=np.bool_)


def _after_the_start(experiment: Experiment, blocks: Sequence[Block], arms: Arms) -> Flags:
    assert isinstance(experiment.design, TimeBound | Crossover)
    out = _since_block_start(experiment, blocks) < experiment.design.washout_days
    if isinstance(experiment.design, Crossover):
        out |= np.array([block.index == BETWEEN for block in blocks])
    return np.broadcast_to(out, arms.shape).copy()


def _switchback(experiment: Experiment, blocks: Sequence[Block], arms: Arms) -> Flags:
    assert isinstance(experiment.design, BlockedSwitchback)
    if experiment.design.burn_in_days:
        out = _since_block_start(experiment, blocks) < experiment.design.burn_in_days
        return np.broadcast_to(out, arms.shape).copy()
    mixed = np.zeros(arms.shape, dtype=np.bool_)
    order = experiment.carryover_order
    mixed[:, :order] = True
    for lag in range(1, order + 1):
        mixed[:, order:] |= arms[:, order:] != arms[:, order - lag : arms.shape[1] - lag]
    return mixed


def _after_entry(experiment: Experiment, blocks: Sequence[Block], arms: Arms) -> Flags:
    assert isinstance(experiment.design, StaggeredRollout)
    out = np.zeros(arms.shape, dtype=np.bool_)
    treated = arms != 0
    entered = np.where(treated.any(axis=1), treated.argmax(axis=1), arms.shape[1])
    for lag in range(experiment.design.washout_days):
        rows = np.flatnonzero(entered + lag < arms.shape[1])
        out[rows, entered[rows] + lag] = True
    return out


#: design -> its washed-out cells, all at once; the designs' own `washout` answers for one cell
WASHOUT: dict[type, Callable[[Experiment, Sequence[Block], Arms], Flags]] = {
    RandomDays: _none,
    Triggered: _none,
    TimeBound: _after_the_start,
    Crossover: _after_the_start,
    BlockedSwitchback: _switchback,
    StaggeredRollout: _after_entry,
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """What blackouts leave of a plan."""

    #: arms that hold, shape (G, T)
    arms: Arms
    #: a change was planned and a blackout forbade it, shape (G, T)
    blocked: Flags


def deliver(experiment: Experiment, plan: Calendar, blackouts: Sequence[Blackout]) -> Delivered:
    """The plan under calendar blackouts: a cluster with a blocked unit keeps its arm until a boundary outside them.

    A cluster is taken as a whole: one blocked unit blocks it here, though each unit is judged by itself when it flips.
    """
    zones = experiment.time_zones()
    members: dict[str, list[str]] = {}
    for unit, cluster in experiment.cluster_by_unit().items():
        members.setdefault(cluster, []).append(unit)
    arms, blocked = plan.arms.copy(), np.zeros(plan.arms.shape, dtype=np.bool_)
    if not blackouts:
        return Delivered(arms, blocked)
    for row, cluster in enumerate(plan.clusters):
        units = members[cluster]
        for column, day in enumerate(plan.days):
            before = arms[row, column - 1] if column else 0
            if plan.arms[row, column] != before and _barred(units, cluster, day, zones, blackouts):
                arms[row, column] = before
                blocked[row, column] = True
    return Delivered(arms, blocked)


def _barred(
    units: Iterable[str], cluster: str, day: date, zones: Mapping[str, str], blackouts: Sequence[Blackout]
) -> bool:
    return any(binding(blackouts, unit, cluster, day_start(day, zones[market_of(unit)])) for unit in units)


def price_changes(arms: Arms) -> npt.NDArray[np.int_]:
    """Changes of each cluster's arm, from control before the start to control after the end, length G."""
    padded = np.pad(arms, ((0, 0), (1, 1)))
    changes: npt.NDArray[np.int_] = np.count_nonzero(padded[:, 1:] != padded[:, :-1], axis=1)
    return changes


def weekday_table(plan: Calendar, levels: int) -> npt.NDArray[np.int_]:
    """Cluster-days of each arm on each weekday (Monday first), washed-out cells left out, shape (arms, 7)."""
    weekday = np.array([day.weekday() for day in plan.days])
    table = np.zeros((levels, 7), dtype=np.int_)
    for arm in range(levels):
        per_day = np.count_nonzero((plan.arms == arm) & ~plan.washout, axis=0)
        table[arm] = np.bincount(weekday, weights=per_day, minlength=7).astype(np.int_)
    return table


@dataclass(frozen=True, slots=True)
class RiskReport:
    """Worst-case risk of a design's randomisation points against the best points for its carryover order."""

    carryover_order: int
    #: in units of B^2
    risk: float
    optimal_risk: float
    optimal_points: tuple[int, ...]


def risk_report(experiment: Experiment) -> RiskReport | None:
    """None for designs without coins over time, and where the carryover order is beyond the search."""
    design, m = experiment.design, experiment.carryover_order
    if isinstance(design, RandomDays):
        points: tuple[int, ...] = tuple(range(1, experiment.days + 1))
    elif isinstance(design, BlockedSwitchback):
        points = block_starts(experiment)
    else:
        return None
    if m > MOST_CARRYOVER:
        return None
    best = search(experiment.days, m)
    return RiskReport(m, risk(points, experiment.days, m), best.risk, best.points)


def distances(experiment: Experiment, plan: Calendar) -> tuple[float, ...]:
    """Pre-period distance between the arms in each dealt block; empty without re-randomisation."""
    if experiment.balance.max_distance is None:
        return ()
    indices = sorted({block.index for block in plan.blocks})
    found = [draw(experiment, index, experiment.shares(), plan.clusters).distance for index in indices]
    return tuple(value for value in found if value is not None)
