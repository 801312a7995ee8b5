"""Conditional variances: placebo errors by unit, by period, and both (Almeida, Athey, Imbens, Lestant, Olaizola 2025).

For one treated cell (N, T) and placebo errors e: marginal ``mean e^2``; unit ``mean_i e_iT^2`` (others, same period);
time ``mean_t e_Nt^2`` (same unit, other periods); combined ``V_unit V_time / mean e^2`` over the cells that are
neither, which is what a Poisson fit of e^2 on unit and period dummies gives for the missing cell. For a block the cell
becomes the treated group over a window of post-periods; groups of controls and windows of pre-periods play the others.
arXiv 2510.11841 defines the first three; the combined form for blocks is ours.
"""

from dataclasses import dataclass

import numpy as np

from analysis.observational.inference.placebo import subsets_of
from analysis.observational.inference.replications import Progress, replicate, silent
from analysis.observational.panel_fit import CohortFit, MaskFit, PanelFit, never_treated_rows, treated_rows
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

#: disjoint windows of the pre-period below which the time placebos' spread says nothing
FEWEST_WINDOWS = 4


@dataclass(frozen=True, slots=True)
class ConditionalVariances:
    """Four answers to one question: how large are errors like this one's? With the t degrees of freedom of each."""

    marginal: float
    unit: float
    time: float
    combined: float
    #: degrees of freedom in the same order
    freedom: tuple[float, float, float, float]
    #: periods in a window, windows, groups
    window: int
    n_windows: int
    n_groups: int
    #: the window is shorter than the post-period, because the pre-period does not hold enough of them
    shortened: bool

    def standard_errors(self) -> dict[str, float]:
        """By name."""
        names = ("marginal", "unit", "time", "combined")
        return {name: float(np.sqrt(getattr(self, name))) for name in names}


def conditional_variances(
    fit: PanelFit,
    groups_at_most: int,
    windows_at_most: int,
    rng: np.random.Generator,
    jobs: int = 1,
    progress: Progress = silent,
) -> ConditionalVariances:
    """Marginal, unit, time and combined variance of the effect.

    Placebo errors of the treated group come from windows of its own pre-period, the other pre-periods (before and
    after) serving as its past; those of control groups from the same windows and from the real post-period. Where the
    pre-period does not hold four disjoint windows as long as the post-period, shorter ones are used: time and combined
    then carry over the treated group's RELATIVE noise, and the unit variance the length.

    Args:
        fit: on a block design.
        groups_at_most: groups of controls, all of them if there are no more.
        windows_at_most: windows, evenly spread if there are more.
        rng: chance that draws the groups.
        jobs: processes.
        progress: told the errors that are done.

    Raises:
        NotEstimable: several cohorts or a switchback, too few pre-periods, or too few controls.

    """
    errors, control_post, n_pre, n_post = (_weighted if isinstance(fit, CohortFit) else _masked)(
        fit, groups_at_most, windows_at_most, rng, jobs, progress
    )
    window = _window_length(n_pre, n_post)
    treated_pre, control_pre = errors[:, 0], errors[:, 1:]
    within = float(np.mean(control_pre**2))
    unit = float(np.mean(control_post**2))
    if within == 0:
        raise NotEstimable("the placebo errors of the controls are all zero: there is no noise to measure")
    ratio = float(np.mean(treated_pre**2)) / within
    shortened = window < n_post
    # With windows as long as the effect, errors of different lengths need no bridge: time is the plain mean square.
    length = unit / within if shortened else 1.0
    n_windows, n_groups = len(treated_pre), control_pre.shape[1]
    disjoint = min(n_windows, n_pre // window)
    freedom_combined = 1.0 / (1.0 / n_groups + 1.0 / disjoint + 1.0 / (n_groups * disjoint))
    return ConditionalVariances(
        marginal=length * within,
        unit=unit,
        time=length * within * ratio,
        combined=unit * ratio,
        freedom=(float(n_groups), float(n_groups), float(disjoint), freedom_combined),
        window=window,
        n_windows=n_windows,
        n_groups=n_groups,
        shortened=shortened,
    )


def _window_length(n_pre: int, n_post: int) -> int:
    window = min(n_post, n_pre // FEWEST_WINDOWS)
    if window < 1 or n_pre - window < 2:
        raise NotEstimable(
            f"conditional variances need {FEWEST_WINDOWS} windows within the pre-period, and there are {n_pre} "
            "pre-period(s): use placebo, or add earlier periods"
        )
    return window


def _starts(n_pre: int, window: int, at_most: int) -> IntArray:
    starts = np.arange(n_pre - window + 1)
    if len(starts) > at_most:
        starts = np.unique(np.linspace(0, n_pre - window, at_most).round().astype(np.int64))
    return starts


#: errors over windows (treated group first, then groups), over the real post-period (groups), T0, T1
Errors = tuple[FloatArray, FloatArray, int, int]


def _weighted(
    fit: PanelFit, groups_at_most: int, windows_at_most: int, rng: np.random.Generator, jobs: int, progress: Progress
) -> Errors:
    assert isinstance(fit, CohortFit)
    if len(fit.cohorts.blocks) > 1:
        raise NotEstimable(
            f"conditional variances are about one group over one window, and there are {len(fit.cohorts.blocks)} "
            "cohorts: estimate one cohort at a time, or use placebo"
        )
    block, one = fit.block, fit.fits[0]
    n_control, n_treated, n_pre = block.n_control, block.n_treated, block.n_pre
    window = _window_length(n_pre, block.n_post)
    if n_control <= n_treated + 1:
        raise NotEstimable(
            f"{n_control} controls cannot form groups as large as the {n_treated} treated: use jackknife"
        )
    subsets, _ = subsets_of(n_control, n_treated, groups_at_most, rng)
    starts = _starts(n_pre, window, windows_at_most)

    def at(start: int) -> FloatArray:
        inside = np.zeros(n_pre, dtype=np.bool_)
        inside[start : start + window] = True
        columns = np.concatenate([np.flatnonzero(~inside), np.flatnonzero(inside)])
        moved = np.ascontiguousarray(block.outcome[:, columns])
        real = fit.estimator.fit(moved, n_control, n_pre - window)
        return np.concatenate([[real.effect], fit.estimator.placebo(moved[:n_control], n_pre - window, subsets, real)])

    errors = np.array(replicate(at, starts.tolist(), jobs, progress))
    control_post = fit.estimator.placebo(block.outcome[:n_control], n_pre, subsets, one)
    return errors, control_post, n_pre, block.n_post


def _masked(
    fit: PanelFit, groups_at_most: int, windows_at_most: int, rng: np.random.Generator, jobs: int, progress: Progress
) -> Errors:
    assert isinstance(fit, MaskFit)
    panel = fit.panel
    target = panel.treated & panel.usable
    rows, never = treated_rows(panel), never_treated_rows(panel)
    post = target.any(axis=0)
    columns = np.flatnonzero(~post)
    if not post.any() or columns.max(initial=-1) > np.flatnonzero(post).min():
        raise NotEstimable(
            "conditional variances need a period from which the treated stay treated; for a switchback use bootstrap"
        )
    starting = (panel.treated[rows] & panel.usable[rows]).argmax(axis=1)
    if (starting != starting[0]).any():
        raise NotEstimable("conditional variances are about one group over one window: estimate one cohort at a time")
    window = _window_length(len(columns), int(post.sum()))
    if len(never) <= len(rows) + 1:
        raise NotEstimable(
            f"{len(never)} controls cannot form groups as large as the {len(rows)} treated: use bootstrap"
        )
    subsets, _ = subsets_of(len(never), len(rows), groups_at_most, rng)
    starts = _starts(len(columns), window, windows_at_most)
    hidden = ~target

    def error(place: tuple[IntArray, IntArray]) -> float:
        group, periods = place
        mask = np.zeros(panel.outcome.shape, dtype=np.bool_)
        mask[np.ix_(group, periods)] = True
        usable = panel.usable & hidden
        return fit.estimator.refit(panel.outcome, usable, mask, fit.fit).effect

    every = [rows, *(never[subset] for subset in subsets)]
    places = [(group, columns[start : start + window]) for start in starts for group in every]
    errors = np.array(replicate(error, places, jobs, progress)).reshape(len(starts), len(every))
    afterwards = np.flatnonzero(post)
    control_post = np.array(replicate(error, [(group, afterwards) for group in every[1:]], jobs, progress))
    return errors, control_post, len(columns), int(post.sum())
