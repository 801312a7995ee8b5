"""The front door: from the ledger to the estimates that are due. Pure.

A running sequence has one step for each local day that all markets of an experiment have closed, computed on exactly
the unit-days up to it; a revision of any of them makes the latest step anew. Both are functions of what was read, not
of the order in which it was read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from hashlib import sha256

import numpy as np

from analysis.checks.arm_cells import SoldOutPolicy, any_sold_out, cells_by_arm, cluster_shares, under_policy
from analysis.checks.health import CHECKS, health
from analysis.panel_data.analysis_context import CODE_VERSION, CONFIDENCE, METRICS, Case, Metric
from analysis.panel_data.design_facts import is_undrawn, method_of
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.panel import BoolArray, IntArray
from analysis.panel_data.study import UNKNOWN, State, Study, UnitDays, outcome
from analysis.randomised.cluster_day import ClusterDayDifference, Effect
from analysis.randomised.effects import Answer, Answers, cluster_weights, effects, effects_by_target
from analysis.sequential.block_sums import BlockPlan
from analysis.sequential.interim_analyses import plans_of
from analysis.sequential.running_sequences import Sums, advance, anytime, sequence_of, settings_of
from analysis.worker.spillover import published_spillover
from controller.definition.experiment import Target
from controller.errors import FlipsideError, NotEstimable
from controller.messages.codec import key_of
from controller.messages.control import ControlMessage
from controller.messages.events import (
    OBSERVATIONAL,
    EffectEstimate,
    Estimate,
    PeriodClosed,
    SoldOutEffect,
    TargetEffect,
)
from controller.messages.faults import SET_ASIDE, Fault, fault_of
from controller.messages.findings import Health, RunningSequence

__all__ = ["CONFIDENCE", "METRICS", "Aside", "Mark", "due", "estimates", "key", "mark_of"]

#: what is published of an experiment
Finding = Estimate | RunningSequence | Health
#: states of no cell of the experiment: its own missing days, and those before it
BEFORE = (State.UNSETTLED, State.PRE_PERIOD, State.OTHER_EXPERIMENT)
#: so many blocked cells are listed; all of them are counted
BLOCKED_CELLS_LISTED = 1000
#: so many experiments are put aside whatever their share; of more than these, more than half are everybody's fault
FEW_EXPERIMENTS = 2


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How new a finding is: only what is greater is published, and a check that says something else."""

    experiment_version: int
    through: date
    revision: int
    #: of a check: reports of live prices may come after a day was closed, and change what it says
    digest: str = field(default="", compare=False)


def mark_of(finding: Finding) -> Mark:
    """The mark of a finding that was published."""
    mark = _undigested(finding)
    if isinstance(finding, Health):
        return replace(mark, digest=sha256(finding.model_dump_json().encode()).hexdigest())
    return mark


def _undigested(finding: Finding) -> Mark:
    return Mark(finding.experiment_version, finding.through or date.min, finding.revision)


def key(finding: Finding) -> str:
    """The finding's record key: later marks of the same key replace earlier ones."""
    return finding.key if isinstance(finding, ControlMessage) else key_of(finding) or ""


@dataclass(frozen=True, slots=True)
class Step:
    """A closed day for which estimates are missing."""

    day: date
    revision: int
    standing: tuple[PeriodClosed, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be computed of one experiment: values, so that it can be done in another process."""

    last: Case
    steps: tuple[Step, ...]
    #: what its running sequences added up so far
    sums: Sums
    #: the earliest day that was counted anew
    changed: date | None
    #: record key -> how new the finding is that was published under it
    published: dict[str, Mark]


#: jobs -> their findings (or why there are none) and sums, in order: in this process, in several, or on a cluster
Share = Callable[[list[Job]], Iterator[tuple[list[Finding] | Fault, Sums]]]


@dataclass(slots=True)
class Aside:
    """What the analysis goes on without until it is started again, and why."""

    #: name and version
    experiments: dict[tuple[str, int], Fault] = field(default_factory=dict)
    #: of which a record could not be taken in: numbers without it would be wrong
    markets: dict[str, Fault] = field(default_factory=dict)


def due(
    ledger: Ledger, published: Mapping[str, Mark], share: Share | None = None, aside: Aside | None = None
) -> Iterator[Finding]:
    """The findings that are newer than what was published, oldest first; ``published`` by record key.

    All of them are computed on what the ledger holds now: publish them before reading on. An experiment of which
    nothing new was read costs nothing. ``share``: who computes where there are many.

    An experiment that fails as nobody foresaw is put ``aside``, its estimates are absent with that reason, and the
    others are computed. Raises FlipsideError where more than `FEW_EXPERIMENTS`, and more than half, fail.
    """
    aside = aside or Aside()
    faults = {
        study: aside.markets[market]
        for study in ledger.studies.values()
        for market in study.roster.units
        if market in aside.markets and study.key not in aside.experiments
    }
    there = [study for key, study in sorted(ledger.studies.items()) if key not in aside.experiments]
    closed = _settled(ledger, [study for study in there if study not in faults], faults)
    jobs = _jobs(ledger, closed, published, faults)
    if share is None:
        for study, job in jobs:
            yield from _spared(study, job, faults)
    else:
        asked = list(jobs)
        for (study, _), (found, sums) in zip(asked, share([job for _, job in asked]), strict=True):
            study.sums = sums
            if isinstance(found, Fault):
                faults[study] = found
            else:
                yield from found
    if len(faults) > FEW_EXPERIMENTS and 2 * len(faults) > len(there):
        study, fault = next(iter(faults.items()))
        raise FlipsideError(f"{len(faults)} of {len(there)} experiments fail: {study.key[0]}: {fault}")
    for study, fault in faults.items():
        aside.experiments[study.key] = fault
        yield from _absent(ledger, study, fault)


def _settled(ledger: Ledger, studies: Sequence[Study], faults: dict[Study, Fault]) -> list[tuple[Study, date]]:
    """Those with closed days, settled up to the last; at once, and where that fails each alone."""

    def settled(some: Sequence[Study]) -> list[tuple[Study, date]]:
        closed = [(study, through) for study in some if (through := ledger.horizon(study))]
        ledger.settle_all(closed)
        return closed

    try:
        return settled(studies)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - one experiment is set aside, the others go on
        found = []
        for study in studies:
            with _noted(study, faults):
                found += settled([study])
        return found


def _jobs(
    ledger: Ledger, closed: Sequence[tuple[Study, date]], published: Mapping[str, Mark], faults: dict[Study, Fault]
) -> Iterator[tuple[Study, Job]]:
    for study, through in closed:
        job = None
        with _noted(study, faults):
            job = job_of(ledger, study, through, published)
        if job is not None:
            yield study, job


def _spared(study: Study, job: Job, faults: dict[Study, Fault]) -> Iterator[Finding]:
    with _noted(study, faults):
        yield from findings(job)


@contextmanager
def _noted(study: Study, faults: dict[Study, Fault]) -> Iterator[None]:
    """What goes wrong is one experiment's fault, unless the machine is out of memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one experiment is set aside, the others go on
        faults[study] = fault_of(error)


def _absent(ledger: Ledger, study: Study, fault: Fault) -> Iterator[Estimate]:
    """Every estimate of an experiment that was put aside: no number, and the reason."""
    through, standing = _last_known(ledger, study)
    experiment, why = study.roster.experiment, f"{SET_ASIDE}{fault}"[:500]
    watermark = min((closing.watermark for closing in standing), default=study.registered_at)
    for metric in METRICS:
        for arm in experiment.arms[1:]:
            yield Estimate(
                experiment=experiment.name,
                experiment_version=experiment.version,
                design_hash=study.roster.design_hash,
                metric=metric,
                arm=arm.name,
                estimator=method_of(experiment).estimator,
                absolute=None,
                relative=None,
                reason_absent=why,
                anytime_reason_absent=why,
                confidence=CONFIDENCE,
                through=through,
                clusters=0,
                days=0,
                cells=0,
                left_out={},
                blocked_cells=(),
                watermark=watermark,
                offsets={},
                revision=0,
                computed_at_event_time=watermark,
                code_version=CODE_VERSION,
            )


def _last_known(ledger: Ledger, study: Study) -> tuple[date | None, tuple[PeriodClosed, ...]]:
    """The last closed day and the closings that stand there, as far as that much can be said."""
    through: date | None = None
    standing: tuple[PeriodClosed, ...] = ()
    with _noted(study, {}):
        through = ledger.horizon(study)
        standing = () if through is None else ledger.standing(study, through)
    return through, standing


def job_of(ledger: Ledger, study: Study, through: date, published: Mapping[str, Mark]) -> Job | None:
    """What there is to compute of an experiment that is settled up to a day; None where nothing is new."""
    changed = study.changed_since_asked()
    held = {name: published[name] for name in _keys(study) if name in published}
    newest = Mark(study.key[1], through, study.revision(through))
    complete = len(held) == len(_keys(study)) and all(mark >= newest for mark in held.values())
    if changed is None and complete:
        return None
    steps: tuple[date, ...] = ()
    if not complete:
        after = _resume_after(study, [held.get(name) for name in _estimate_keys(study)])
        steps = tuple(study.days(after, through)) or (through,)
    last = case_of(ledger, study, through)
    standing = tuple(Step(day, study.revision(day), ledger.standing(study, day)) for day in steps)
    return Job(last, standing, study.sums, changed, held)


def case_of(ledger: Ledger, study: Study, through: date) -> Case:
    """What an experiment's analysis rests on up to a day, which must be settled."""
    return Case(
        study.roster,
        study.units,
        study.unit_days(through),
        through,
        study.revision(through),
        ledger.standing(study, through),
        study.lags_until(through),
        ledger.entries_of(study),
        ledger.triggers_of(study, through),
        ledger.categories_of(study),
        ledger.graphs.of(study.roster.experiment),
    )


def findings(job: Job) -> Iterator[Finding]:
    """An estimate for each step, then the sequences and checks of the last day; only what is new. Moves the sums."""
    case, experiment = _primary(job.last), job.last.roster.experiment
    primary = _primary(case)
    plans: list[BlockPlan] | str
    try:
        plans = plans_of(experiment)
        advance(job.sums, primary.days, experiment, plans, job.changed)
    except NotEstimable as absent:
        plans = str(absent)
    sequences = _sequences(primary, job.sums, plans)
    for step in job.steps:
        then, looked = case, sequences
        if step.day < case.through:
            then = case.until(step.day, step.revision, step.standing)
            looked = _sequences(_primary(then), job.sums, plans)
        for estimate in estimates(then, looked):
            yield from _newer(estimate, job.published)
    for sequence in sequences.values():
        yield from _newer(sequence, job.published)
    for check in health(job.last):
        yield from _newer(check, job.published)


def _newer(finding: Finding, published: Mapping[str, Mark]) -> Iterator[Finding]:
    before, now = published.get(key(finding)), _undigested(finding)
    if before is None or now > before or (now == before and mark_of(finding).digest != before.digest):
        yield finding


def _sequences(case: Case, sums: Sums, plans: list[BlockPlan] | str) -> dict[tuple[Metric, int], RunningSequence]:
    """The running sequence of each metric and arm, as it stood on the case's day."""
    experiment = case.roster.experiment
    left_out = {arm: _exclusions(case.days, arm) for arm in range(1, len(experiment.arms))}
    found = {}
    for metric in METRICS:
        for arm in range(1, len(experiment.arms)):
            held = sums.get((metric, arm))
            found[metric, arm] = sequence_of(case, metric, arm, held, plans, left_out[arm][metric])
    return found


def estimates(case: Case, sequences: Mapping[tuple[Metric, int], RunningSequence]) -> Iterator[Estimate]:
    """Every metric and arm of an experiment on its unit-days up to a day; a second one where not only coins decided."""
    days, experiment = case.days, case.roster.experiment
    blocked, method = _blocked(case), method_of(experiment)
    planned_day = experiment.end - timedelta(days=1)
    targets = effects_by_target(case, days)
    target: Target = experiment.target
    other: Target = "average" if target == "total" else "total"
    sold_out = _sold_out(case, target)
    spillover = published_spillover(case)
    cells = cells_by_arm(under_policy(days, "zero"), experiment.arms)
    for metric in METRICS:
        shares = cluster_shares(days, metric)
        for arm in range(1, len(experiment.arms)):
            found, reason = targets[target][metric, arm]
            usable = np.zeros((0, 0), dtype=np.bool_) if found else _compared(days, metric, arm)
            at_any_time, none_at_any_time = anytime(sequences[metric, arm])
            absolute, relative, reason = _both(found, reason)
            yield Estimate(
                metric=metric,
                arm=experiment.arms[arm].name,
                estimator=method.estimator,
                absolute=absolute,
                relative=relative,
                reason_absent=reason,
                confidence=CONFIDENCE,
                horizon="fixed",
                planned_day=planned_day,
                significant=found.absolute.p < 1.0 - CONFIDENCE if found and case.through >= planned_day else None,
                anytime=at_any_time,
                anytime_reason_absent=none_at_any_time,
                clusters=found.clusters if found else len(np.unique(days.cluster[usable.any(axis=0)])),
                blocks=found.groups if found else 0,
                days=found.days if found else int(usable.any(axis=1).sum()),
                units=found.units if found else int(usable.any(axis=0).sum()),
                cells=found.cells if found else int(usable.sum()),
                left_out={**sequences[metric, arm].left_out, **(found.left_out if found else {})},
                blocked_cells=blocked,
                settings=settings_of(experiment),
                target=target,
                other_target=_target_effect(other, targets[other][metric, arm]),
                largest_cluster_share=float(shares.max()) if len(shares) else None,
                cells_by_arm={name: cells[name] for name in (experiment.control.name, experiment.arms[arm].name)},
                sold_out=None if sold_out is None else _sold_out_effect(sold_out, metric, arm),
                spillover=spillover.get(metric),
                **case.words,
            )
            if is_undrawn(experiment):
                # Brings the panel estimators, 40 MB that most experiments never need.
                from analysis.observational.running_estimate import observational

                yield observational(case, metric, arm, sequences[metric, arm].left_out)


def _primary(case: Case) -> Case:
    """The case under its definition's policy for sold-out unit-days; checks look at all of them."""
    if case.roster.experiment.when_sold_out == "zero" or not any_sold_out(case.days):
        return case
    return replace(case, days=under_policy(case.days, "missing"))


def _both(
    found: ClusterDayDifference | None, reason: str | None
) -> tuple[EffectEstimate | None, EffectEstimate | None, str | None]:
    """The absolute and the relative effect as published, and why one of them is absent."""
    if found is None:
        return None, None, reason
    return _published(found.absolute), _published(found.relative), found.relative_absent


def _target_effect(target: Target, answer: Answer) -> TargetEffect:
    absolute, relative, reason = _both(*answer)
    return TargetEffect(target=target, absolute=absolute, relative=relative, reason_absent=reason)


def _sold_out(case: Case, target: Target) -> tuple[SoldOutPolicy, Answers] | None:
    """The effects under the policy for sold-out unit-days that the definition did not choose; None without any."""
    if not any_sold_out(case.days):
        return None
    policy: SoldOutPolicy = "missing" if case.roster.experiment.when_sold_out == "zero" else "zero"
    days = under_policy(case.days, policy)
    return policy, effects(case, days, cluster_weights(days) if target == "total" else None)


def _sold_out_effect(found: tuple[SoldOutPolicy, Answers], metric: Metric, arm: int) -> SoldOutEffect:
    absolute, relative, reason = _both(*found[1][metric, arm])
    return SoldOutEffect(policy=found[0], absolute=absolute, relative=relative, reason_absent=reason)


def _keys(study: Study) -> list[str]:
    experiment = study.roster.experiment
    series = [f"{experiment.name}/{metric}/{arm.name}" for metric in METRICS for arm in experiment.arms[1:]]
    return [*_estimate_keys(study), *series, *(f"{experiment.name}/{check}" for check in CHECKS)]


def _estimate_keys(study: Study) -> list[str]:
    experiment = study.roster.experiment
    names = (method_of(experiment).estimator, *((OBSERVATIONAL,) if is_undrawn(experiment) else ()))
    arms = [f"{experiment.name}/{metric}/{arm.name}" for metric in METRICS for arm in experiment.arms[1:]]
    return [f"{arm}/{name}" for arm in arms for name in names]


def _resume_after(study: Study, marks: list[Mark | None]) -> date | None:
    """The last step that every series of this experiment's version has; None where one has yet to begin."""
    days = [mark.through if mark is not None and mark.experiment_version >= study.key[1] else None for mark in marks]
    known = [day for day in days if day is not None]
    return min(known) if known and len(known) == len(days) else None


def _exclusions(days: UnitDays, arm: int) -> dict[Metric, dict[str, int]]:
    """By metric, the unit-days that an arm cannot be compared with control on: reason -> number.

    Unit-days of the pre-period are counted as far as they were observed: they are used, but not compared.
    """
    why = [state for state in State if state not in BEFORE]
    left_out = {state.name.lower(): int(np.count_nonzero(days.state == state)) for state in why}
    seen_before = days.state[: days.before][days.observed[: days.before]]
    left_out |= {state.name.lower(): int((seen_before == state).sum()) for state in BEFORE[1:]}
    compared = (days.state == 0) | (days.state == arm)
    observed = compared & days.observed
    left_out["unobserved"] = int(np.count_nonzero(compared)) - int(np.count_nonzero(observed))
    found: dict[Metric, dict[str, int]] = {metric: dict(left_out) for metric in METRICS}
    found["margin"]["cost_unknown"] = int(np.count_nonzero(observed & (days.cost == UNKNOWN)))
    return {metric: {why: count for why, count in reasons.items() if count} for metric, reasons in found.items()}


def _compared(days: UnitDays, metric: Metric, arm: int) -> BoolArray:
    """(T, U) cells with an outcome under an arm or control."""
    return np.asarray(np.isfinite(outcome(days, metric)) & ((days.state == 0) | (days.state == arm)))


def _blocked(case: Case) -> tuple[str, ...]:
    """The cells whose flip a blackout blocked, by day and then by unit."""
    blocked = case.days.state == State.BLACKOUT
    if not blocked.any():
        return ()
    cells: IntArray = np.argwhere(blocked)[:BLOCKED_CELLS_LISTED]
    return tuple(f"{case.units[unit]} {case.days.first_day + timedelta(days=int(row))}" for row, unit in cells)


def _published(effect: Effect | None) -> EffectEstimate | None:
    if effect is None:
        return None
    return EffectEstimate(
        value=effect.value,
        se=effect.se,
        ci_low=effect.ci_low,
        ci_high=effect.ci_high,
        p=effect.p,
        unbounded=effect.unbounded,
    )
