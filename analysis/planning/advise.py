"""Every design rehearsed many times on the owner's history, judged, and one of them recommended with its reasons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf

import numpy as np

from analysis.observational.inference.replications import Progress, replicate, silent
from analysis.planning.advice import Advice, DesignAdvice, Question
from analysis.planning.candidates import Candidate, candidates, experiment_of, most_changes_a_week, refusal
from analysis.planning.power import multipliers
from analysis.planning.recommend import recommend
from analysis.planning.rehearsal import History, Rehearsed, covariates, pre_periods, rehearse
from analysis.randomised.cluster_day import Effect
from controller.definition.experiment import Experiment
from controller.errors import InvalidPanel, NotEstimable
from controller.validation.cluster_minima import too_few

#: beginnings of the history on which a design is rehearsed in turn, where it is long enough
WINDOWS = 4
#: schedules that one process rehearses before it tells how far it is
AT_ONCE = 10
#: parts of a time-bound experiment after which its error is looked at, to tell when it could have ended
RUNGS = 4


@dataclass(frozen=True, slots=True)
class _Plan:
    candidate: Candidate
    experiment: Experiment | None
    before: int
    firsts: tuple[int, ...]
    advice: DesignAdvice


def advise(
    history: History, question: Question, *, jobs: int = 1, progress: Callable[[int], Progress] | None = None
) -> Advice:
    """Rehearse every design, judge it, recommend one.

    ``progress`` is told the number of steps, ``AT_ONCE`` schedules each, and gives what is called after each. The
    answer does not depend on ``jobs``: chance is the hash of the seed and the number of the run.

    Raises:
        InvalidPanel: a history that no design can use: too few units, or too short for each of them.
    """
    plans = [_plan(history, question, c) for c in candidates(question.constraints)]
    items = [
        (plan, range(begin, min(begin + AT_ONCE, question.runs)))
        for plan in plans
        if plan.experiment is not None and plan.firsts
        for begin in range(0, question.runs, AT_ONCE)
    ]
    if not items:
        raise InvalidPanel(_nothing_fits(plans))
    tell = silent if progress is None else progress(len(items))
    found = replicate(partial(_rehearsed, history, question), items, jobs, tell)
    designs = []
    for plan in plans:
        mine = [one for (other, _), several in zip(items, found, strict=True) if other is plan for one in several]
        designs.append(_judged(plan, mine, question) if mine else plan.advice)
    recommended, reasons = recommend(designs, question)
    return Advice(question.truth.effect, tuple(designs), recommended, reasons)


def _plan(history: History, question: Question, candidate: Candidate) -> _Plan:
    constraints, rows = question.constraints, len(history.outcome)
    least, most = pre_periods(history.period_days)
    if question.before is not None:
        least = most = question.before
    elif not candidate.needs_pre_period:
        least = 0
    before = max(least, min(most, (rows - candidate.periods) // 2))
    advice = DesignAdvice(
        name=candidate.name,
        kind=candidate.kind,
        definition=dict(candidate.definition),
        periods=candidate.periods,
        pre_periods=before,
        refused=candidate.refused,
        missing_days=max(0, least + candidate.periods - rows) * constraints.period_days,
    )
    if not candidate.drawable:
        return _Plan(candidate, None, before, (), advice)
    experiment = experiment_of(candidate, history.units, history.clusters, history.currency)
    refused = candidate.refused or refusal(experiment, constraints)
    # Random days under carryover are drawn all the same: what they would get wrong is worth seeing.
    drawable = refused is None or candidate.kind == "random_days"
    if candidate.periods > constraints.periods:
        refused = f"needs {candidate.periods * constraints.period_days} days: run longer"
        drawable = False
    advice = replace(advice, refused=refused)
    if drawable or refused is None:
        advice = replace(advice, most_changes_a_week=most_changes_a_week(experiment, constraints.week))
    if not drawable or advice.missing_days:
        return _Plan(candidate, None, before, (), advice)
    free = rows - before - candidate.periods
    windows = min(WINDOWS, free + 1)
    firsts = tuple(sorted({before + round(free * k / max(windows - 1, 1)) for k in range(windows)}))
    return _Plan(candidate, experiment, before, firsts, advice)


def _rehearsed(history: History, question: Question, item: tuple[_Plan, range]) -> list[Rehearsed | str]:
    plan, runs = item
    assert plan.experiment is not None
    found: list[Rehearsed | str] = []
    for run in runs:
        first = plan.firsts[run % len(plan.firsts)]
        experiment = plan.experiment.model_copy(update={"seed": f"{question.seed}-{run}"})
        experiment = covariates(history, experiment, plan.before, first)
        rungs = RUNGS if plan.candidate.kind == "time_bound" else 0
        try:
            found.append(rehearse(history, experiment, plan.before, first, question.truth, rungs=rungs))
        except NotEstimable as reason:
            found.append(str(reason))
    return found


def _judged(plan: _Plan, found: Sequence[Rehearsed | str], question: Question) -> DesignAdvice:
    runs = [one for one in found if isinstance(one, Rehearsed)]
    silent_runs = [one for one in found if isinstance(one, str)]
    if len(runs) < 2:
        return replace(plan.advice, no_figures=silent_runs[0] if silent_runs else "two runs at least are needed")
    effect = question.truth.effect
    planted = np.array([(r.planted.value, r.planted.se, *_bounds(r.planted)) for r in runs])
    aa = np.array([(r.aa.value, *_bounds(r.aa)) for r in runs])
    bias = planted[:, 0] - aa[:, 0] - effect
    window = np.array([r.first for r in runs])
    within = planted[:, 0] - sum((window == w) * planted[window == w, 0].mean() for w in np.unique(window))
    freedom = max(1, len(runs) - len(np.unique(window)))
    se = float(np.sqrt((planted[:, 1] ** 2).mean()))
    by_window = [float(np.sqrt((planted[window == w, 1] ** 2).mean())) for w in np.unique(window)]
    fixed, anytime = multipliers(question.alpha, question.power)
    notes = [f"{len(silent_runs)} of {len(found)} schedules gave no number: {silent_runs[0]}"] if silent_runs else []
    few = _too_few(plan)
    always = plan.candidate.sequential and few is None
    if few is not None and plan.candidate.sequential:
        notes.append(few)
    if not plan.candidate.sequential:
        notes.append("no figure for any time of looking: its blocks are not draws of their own that close in turn")
    judged = replace(
        plan.advice,
        runs=len(runs),
        bias=float(bias.mean()),
        bias_error=float(bias.std(ddof=1) / len(runs) ** 0.5),
        se=se,
        se_range=(min(by_window), max(by_window)),
        scatter=float(np.sqrt((within**2).sum() / freedom)),
        false_positives=float(((aa[:, 1] > 0) | (aa[:, 2] < 0)).mean()),
        coverage=float(((planted[:, 2] <= effect) & (effect <= planted[:, 3])).mean()),
        found=float(((planted[:, 2] > 0) | (planted[:, 3] < 0)).mean()),
        mde=fixed * se,
        mde_anytime=anytime * se if always else None,
        changes_per_unit=float(np.mean([r.changes for r in runs])),
    )
    week = question.constraints.week
    if plan.candidate.kind in ("random_days", "blocked_switchback"):
        judged = replace(
            judged,
            periods_to_decide=_whole_weeks(plan, fixed * se / effect, week),
            periods_to_decide_anytime=(_whole_weeks(plan, anytime * se / effect, week) if always else None),
        )
    else:
        decide = _first_enough(plan, runs, fixed, se, effect, week)
        judged = replace(judged, periods_to_decide=decide)
        if decide is None:
            notes.append("does not find the effect within the time given; more time alone need not help, more units do")
    return replace(judged, notes=tuple(notes))


def _too_few(plan: _Plan) -> str | None:
    """Why no interval holds at every look, whatever the design: an arm of a block would have one cluster."""
    assert plan.experiment is not None
    why = too_few("always_valid", len(plan.experiment.cluster_names()))
    return None if why is None else f"no figure for any time of looking: {why}"


def _bounds(effect: Effect) -> tuple[float, float]:
    """An interval that cannot be bounded holds everything."""
    low, high = effect.ci_low, effect.ci_high
    return (-inf if low is None else low), (inf if high is None else high)


def _whole_weeks(plan: _Plan, ratio: float, week: int) -> int:
    """Periods after which ``ratio``, which falls with the root of time, is one: whole weeks, two blocks at least."""
    block = int(plan.candidate.definition["design"].get("block_days", 1))
    periods = max(plan.candidate.periods * ratio**2, 2 * block)
    return ceil(periods / week - 1e-9) * week


def _first_enough(
    plan: _Plan, runs: Sequence[Rehearsed], fixed: float, se: float, effect: float, week: int
) -> int | None:
    """The shortest beginning of the experiment that would have found the effect; None where all of it would not."""
    lengths = sorted({days for run in runs for days, _ in run.ladder})
    for days in lengths:
        errors = [error for run in runs for length, error in run.ladder if length == days]
        enough = len(errors) == len(runs) and fixed * float(np.sqrt(np.mean(np.square(errors)))) <= abs(effect)
        if enough:
            return min(ceil(days / week) * week, plan.candidate.periods)
    return plan.candidate.periods if fixed * se <= abs(effect) else None


def _nothing_fits(plans: Sequence[_Plan]) -> str:
    lacking = [plan.advice for plan in plans if plan.advice.missing_days]
    if lacking:
        nearest = min(lacking, key=lambda advice: advice.missing_days)
        return (
            f"the history is too short for every design: {nearest.name} lacks the least, {nearest.missing_days} days;"
            " give a longer history, or fewer --weeks"
        )
    refused = "; ".join(f"{plan.advice.name}: {plan.advice.refused}" for plan in plans)
    return f"the constraints leave no design: {refused}"
