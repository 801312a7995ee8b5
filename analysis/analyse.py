"""The front door: from the ledger to the estimates that are due. Pure.

A running sequence has one step for each local day that all markets of an experiment have closed, computed on exactly
the unit-days up to it; a revision of any of them makes the latest step anew. Both are functions of what was read, not
of the order in which it was read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Literal

import numpy as np

from analysis.by_design import NO_PRE_PERIOD, Method, method_of
from analysis.estimators.cluster_day import ClusterDayDifference, Effect, cluster_day_difference
from analysis.ledger import Ledger
from analysis.panel import BoolArray, FloatArray, IntArray
from analysis.study import State, Study, UnitDays, outcome
from controller.codec import key_of
from controller.errors import NotEstimable
from controller.events import EffectEstimate, Estimate, PeriodClosed

Metric = Literal["units", "revenue", "margin"]
METRICS: tuple[Metric, ...] = ("units", "revenue", "margin")
CONFIDENCE = 0.95
#: states of no cell of the experiment: its own missing days, and those before it
BEFORE = (State.UNSETTLED, State.PRE_PERIOD, State.OTHER_EXPERIMENT)
#: so many blocked cells are listed; all of them are counted
BLOCKED_CELLS_LISTED = 1000
CODE_VERSION = f"flipside {version('flipside')}"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How new an estimate is: only what is greater is published."""

    experiment_version: int
    through: date
    revision: int


def mark_of(estimate: Estimate) -> Mark:
    """The mark of an estimate that was published."""
    return Mark(estimate.experiment_version, estimate.through or date.min, estimate.revision)


def key(estimate: Estimate) -> str:
    """The estimate's record key: later marks of the same key replace earlier ones."""
    return key_of(estimate) or ""


def due(ledger: Ledger, published: Mapping[str, Mark]) -> Iterator[Estimate]:
    """The estimates that are newer than what was published, oldest first; ``published`` by record key.

    All of them are computed on what the ledger holds now: publish them before reading on.
    """
    for _, study in sorted(ledger.studies.items()):
        through = ledger.horizon(study)
        if through is None:
            continue
        ledger.settle(study, through)
        newest = Mark(study.key[1], through, study.revision(through))
        marks = [published.get(name) for name in _keys(study)]
        held = [mark for mark in marks if mark is not None]
        if len(held) == len(marks) and all(mark >= newest for mark in held):
            continue
        after = _resume_after(study, marks)
        for day in (*study.days(after, through),) or (through,):
            for estimate in estimates(ledger, study, day):
                mark = published.get(key(estimate))
                if mark is None or mark_of(estimate) > mark:
                    yield estimate


def estimates(ledger: Ledger, study: Study, through: date) -> Iterator[Estimate]:
    """Every metric and arm of an experiment on its unit-days up to ``through``, which must be settled."""
    days = study.unit_days(through)
    standing = ledger.standing(study, through)
    blocked = _blocked(study, days)
    experiment = study.roster.experiment
    method = method_of(experiment)
    draws = _draws(method, study, days)
    for metric in METRICS:
        values = outcome(days, metric)
        for arm in range(1, len(experiment.arms)):
            usable, left_out = _usable(days, values, metric, arm)
            found, reason = _estimate(method, draws, usable, days, arm)
            relative = _published(found.relative) if found else None
            if found and relative is None:
                reason = "control's mean is not positive: there is nothing to be relative to"
            counted = np.isfinite(usable[days.before :])
            yield Estimate(
                experiment=experiment.name,
                experiment_version=experiment.version,
                design_hash=study.roster.design_hash,
                metric=metric,
                arm=experiment.arms[arm].name,
                estimator=method.estimator,
                absolute=_published(found.absolute) if found else None,
                relative=relative,
                reason_absent=reason,
                confidence=CONFIDENCE,
                through=through,
                clusters=found.clusters if found else len(np.unique(days.cluster[counted.any(axis=0)])),
                days=found.days if found else int(counted.any(axis=1).sum()),
                cells=found.cells if found else int(counted.sum()),
                left_out={**left_out, **(found.left_out if found else {})},
                blocked_cells=blocked,
                watermark=min((closing.watermark for closing in standing), default=None),
                offsets=_offsets(standing),
                revision=study.revision(through),
                computed_at_event_time=min((closing.watermark for closing in standing), default=None),
                code_version=CODE_VERSION,
            )


def _keys(study: Study) -> list[str]:
    experiment = study.roster.experiment
    name = method_of(experiment).estimator
    return [f"{experiment.name}/{metric}/{arm.name}/{name}" for metric in METRICS for arm in experiment.arms[1:]]


def _resume_after(study: Study, marks: list[Mark | None]) -> date | None:
    """The last step that every series of this experiment's version has; None where one has yet to begin."""
    days = [mark.through if mark is not None and mark.experiment_version >= study.key[1] else None for mark in marks]
    known = [day for day in days if day is not None]
    return min(known) if known and len(known) == len(days) else None


def _draws(method: Method, study: Study, days: UnitDays) -> BoolArray:
    """(T, L): none in the pre-period, then those of the design."""
    during = method.draws(study.roster.experiment, len(days.state) - days.before)
    return np.vstack([np.zeros((days.before, during.shape[1]), dtype=np.bool_), during])


def _estimate(
    method: Method, draws: BoolArray, usable: FloatArray, days: UnitDays, arm: int
) -> tuple[ClusterDayDifference | None, str | None]:
    if method.reason_absent is not None:
        return None, method.reason_absent
    if method.needs_pre_period and not np.isfinite(usable[~draws.any(axis=1)]).any():
        return None, NO_PRE_PERIOD
    try:
        return cluster_day_difference(usable, days.state == arm, days.cluster, CONFIDENCE, draws), None
    except NotEstimable as reason:
        return None, str(reason)


def _usable(days: UnitDays, values: FloatArray, metric: Metric, arm: int) -> tuple[FloatArray, dict[str, int]]:
    """Outcomes of the cells that may be used for an arm against control, and of the pre-period; the others by reason.

    Unit-days of the pre-period are counted as far as they were observed: they are used, but not compared.
    """
    left_out = {state.name.lower(): int((days.state == state).sum()) for state in State if state not in BEFORE}
    left_out |= {state.name.lower(): int((days.observed & (days.state == state)).sum()) for state in BEFORE[1:]}
    compared = (days.state == 0) | (days.state == arm)
    left_out["unobserved"] = int((compared & ~days.observed).sum())
    if metric == "margin":
        left_out["cost_unknown"] = int((compared & days.observed & ~np.isfinite(values)).sum())
    kept = compared | (days.state == State.PRE_PERIOD)
    return np.where(kept, values, np.nan), {reason: count for reason, count in left_out.items() if count}


def _blocked(study: Study, days: UnitDays) -> tuple[str, ...]:
    """The cells whose flip a blackout blocked, by day and then by unit."""
    cells: IntArray = np.argwhere(days.state == State.BLACKOUT)[:BLOCKED_CELLS_LISTED]
    return tuple(f"{study.units[unit]} {days.first_day + timedelta(days=int(row))}" for row, unit in cells)


def _offsets(standing: tuple[PeriodClosed, ...]) -> dict[str, int]:
    """Per sale partition, the offset before which everything is counted in every market."""
    partitions = sorted({partition for closing in standing for partition in closing.offsets})
    return {
        partition: min(closing.offsets[partition] for closing in standing if partition in closing.offsets)
        for partition in partitions
    }


def _published(effect: Effect | None) -> EffectEstimate | None:
    return None if effect is None else EffectEstimate(**asdict(effect))
