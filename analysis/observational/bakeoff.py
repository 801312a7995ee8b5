"""Which estimator would have been right on the owner's own panel? Placebo blocks with a known effect of zero tell.

Each placebo hides a block among the never-treated units that looks like the real one: as many units, treated for as
many periods in the same pattern, chosen by an assignment model fitted to who was really treated, at the real start or
an earlier one. Every method is run on it with every kind of standard error; its effect is known to be zero. A second
run adds an effect that differs over time and units and averages zero, which shows a method that assumes one effect.
"""

from dataclasses import dataclass, replace
from math import comb, sqrt
from typing import Any

import numpy as np

from analysis.observational.cohorts import check_panel
from analysis.observational.estimators.by_name import ESTIMATORS, METHODS, MaskedEstimator
from analysis.observational.inference.placebo import controls_only
from analysis.observational.inference.replications import Progress, replicate, silent
from analysis.observational.panel_estimate import Se, adjust, uncertainty_of
from analysis.observational.panel_fit import MaskFit, PanelFit, fit_panel, never_treated_rows, treated_rows
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from controller.errors import InvalidPanel, NotEstimable

SES: tuple[Se, ...] = ("placebo", "jackknife", "bootstrap", "conditional")
#: the stress effect runs from minus to plus this many standard deviations of the outcome's first differences
STRESS = 3.0
#: refits behind one standard error of one placebo: enough to rank methods, a tenth of what an estimate gets
DRAWS, SLOW_DRAWS = 50, 12
#: groups and windows of the conditional variances, where each error is a closed form away, and where it is a refit
WEIGHTED_PLACES, MASKED_PLACES = (30, 6), (10, 4)
#: standard errors of slow methods are scored on one placebo in so many
SLOW_EVERY = 8
#: share of the real pre-period that an earlier placebo must keep
KEPT_PRE = 0.5


@dataclass(frozen=True, slots=True)
class Rate:
    """A Monte-Carlo mean and its standard error."""

    value: float
    se: float


@dataclass(frozen=True, slots=True)
class SeScore:
    """How a kind of standard error did for one method."""

    kind: str
    #: share of intervals that held the true effect
    coverage: Rate
    width: Rate
    #: placebos on which it could be computed
    n: int


@dataclass(frozen=True, slots=True)
class MethodScore:
    """How one method did."""

    method: str
    rmse: Rate
    bias: Rate
    #: root mean square error when the hidden effect varies and averages zero
    stress_rmse: Rate
    standard_errors: tuple[SeScore, ...]
    #: kind of standard error -> why it is absent
    refused: tuple[tuple[str, str], ...]
    #: mean square error within two Monte-Carlo standard errors of the best method's
    as_good_as_best: bool


@dataclass(frozen=True, slots=True)
class Bakeoff:
    """Methods, best first, and what to do."""

    scores: tuple[MethodScore, ...]
    #: method -> why it is absent
    refused: tuple[tuple[str, str], ...]
    recommendation: str
    n_placebos: int
    n_treated: int
    n_post: int
    level: float

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ranking": [
                {
                    "method": score.method,
                    "rmse": score.rmse.value,
                    "rmse_mc_se": score.rmse.se,
                    "bias": score.bias.value,
                    "bias_mc_se": score.bias.se,
                    "stress_rmse": score.stress_rmse.value,
                    "as_good_as_best": score.as_good_as_best,
                    "standard_errors": [
                        {
                            "kind": one.kind,
                            "coverage": one.coverage.value,
                            "coverage_mc_se": one.coverage.se,
                            "width": one.width.value,
                            "width_mc_se": one.width.se,
                            "n": one.n,
                        }
                        for one in score.standard_errors
                    ],
                    "refused": dict(score.refused),
                }
                for score in self.scores
            ],
            "refused": dict(self.refused),
            "recommendation": self.recommendation,
            "n_placebos": self.n_placebos,
            "n_treated": self.n_treated,
            "n_post": self.n_post,
            "level": self.level,
        }


@dataclass(frozen=True, slots=True)
class _Placebo:
    """Where one placebo is hidden, and the seed of whatever chance its standard errors need."""

    number: int
    rows: tuple[int, ...]
    shift: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    error: float
    stress_error: float
    #: kind -> (covered, width)
    intervals: dict[str, tuple[bool, float]]
    refused: dict[str, str]


def bakeoff(
    panel: Panel,
    *,
    rng: np.random.Generator,
    methods: tuple[str, ...] = METHODS,
    ses: tuple[Se, ...] = SES,
    n_placebos: int = 200,
    level: float = 0.95,
    jobs: int = 1,
    progress: Progress = silent,
) -> Bakeoff:
    """Rank methods on placebo blocks of this panel.

    Penalties that a method chooses by cross-validation are chosen once, on the real panel, its treated cells hidden.
    Placebos share units and periods, so Monte-Carlo errors, which count them as independent, are a lower bound.

    Args:
        panel: with its real treatment, which is never used as an outcome.
        rng: chance.
        methods: names of `ESTIMATORS`.
        ses: kinds of standard error.
        n_placebos: blocks to hide; all different ones if there are no more.
        level: of the intervals.
        jobs: processes.
        progress: told each placebo done.

    Raises:
        InvalidPanel: as `check_panel`.
        NotEstimable: too few never-treated units, or no method can be used.

    """
    check_panel(panel)
    panel, _ = adjust(panel)
    treated, never = treated_rows(panel), never_treated_rows(panel)
    if len(never) < len(treated) + 3:
        raise NotEstimable(
            f"{len(never)} never-treated unit(s) cannot stand in for {len(treated)} treated one(s) and leave three "
            "controls: a bake-off needs more units that were never treated"
        )
    patterns = panel.treated[treated]
    controls = replace(controls_only(panel, never), arm=np.zeros((len(never), len(panel.periods)), dtype=np.int64))
    base, refused = _base_fits(panel, methods)
    placebos = _draw(panel, treated, never, n_placebos, rng)

    def run(placebo: _Placebo) -> dict[str, _Outcome]:
        hidden, stress = _hide(controls, patterns, placebo)
        return {method: _try(method, fit, hidden, stress, ses, level, placebo) for method, fit in base.items()}

    outcomes = replicate(run, placebos, jobs, progress)
    scores = _scores(list(base), outcomes)
    post = patterns.any(axis=0)
    return Bakeoff(
        scores=scores,
        refused=tuple(refused.items()),
        recommendation=_recommend(scores, level),
        n_placebos=len(placebos),
        n_treated=len(treated),
        n_post=int(post.sum()),
        level=level,
    )


def _base_fits(panel: Panel, methods: tuple[str, ...]) -> tuple[dict[str, PanelFit], dict[str, str]]:
    base: dict[str, PanelFit] = {}
    refused: dict[str, str] = {}
    for method in methods:
        if method not in ESTIMATORS:
            raise InvalidPanel(f"method is {method}: it must be one of {', '.join(ESTIMATORS)}")
        try:
            base[method] = fit_panel(panel, method)
        except NotEstimable as refusal:
            refused[method] = str(refusal)
    if not base:
        raise NotEstimable("; ".join(f"{method}: {reason}" for method, reason in refused.items()))
    return base, refused


def _draw(
    panel: Panel, treated: IntArray, never: IntArray, n_placebos: int, rng: np.random.Generator
) -> list[_Placebo]:
    """Distinct pairs of a group of controls and a shift of the start."""
    first = int(panel.treated[treated].any(axis=0).argmax())
    shifts = np.arange(max(1, first - max(4, int(np.ceil(KEPT_PRE * first))) + 1))
    odds = assignment_odds(panel, treated, never, first)
    possible = comb(len(never), len(treated)) * len(shifts)
    drawn: dict[tuple[tuple[int, ...], int], None] = {}
    attempts = 0
    while len(drawn) < min(n_placebos, possible) and attempts < 50 * n_placebos:
        attempts += 1
        rows = tuple(sorted(rng.choice(len(never), len(treated), replace=False, p=odds / odds.sum()).tolist()))
        drawn[rows, int(rng.choice(shifts))] = None
    seeds = rng.integers(0, 2**63, len(drawn))
    return [
        _Placebo(number, rows, shift, int(seed))
        for number, ((rows, shift), seed) in enumerate(zip(drawn, seeds, strict=True))
    ]


def assignment_odds(panel: Panel, treated: IntArray, never: IntArray, first: int) -> FloatArray:
    """(N0,) odds of treatment of the never-treated units, by a logit on pre-period level and slope.

    The ridge of one on standardised covariates keeps it defined when one unit was treated, or when they separate.
    """
    rows = np.concatenate([never, treated])
    usable = panel.usable[rows, :first]
    outcome = np.where(usable, panel.outcome[rows, :first], 0.0)
    count = np.maximum(usable.sum(axis=1), 1)
    level = outcome.sum(axis=1) / count
    times = np.where(usable, np.arange(first, dtype=np.float64), 0.0)
    times = np.where(usable, times - (times.sum(axis=1) / count)[:, None], 0.0)
    slope = np.einsum("it,it->i", times, outcome) / np.maximum(np.einsum("it,it->i", times, times), 1e-12)
    features = np.stack([level, slope], axis=1)
    features = (features - features.mean(axis=0)) / np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0)
    design = np.column_stack([np.ones(len(rows)), features])
    was_treated = np.arange(len(rows)) >= len(never)
    beta = np.zeros(3)
    ridge = np.diag([1e-6, 1.0, 1.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (was_treated - p) - ridge @ beta
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + ridge, gradient)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    odds: FloatArray = np.exp(np.clip(design[: len(never)] @ beta, -30, 30))
    return odds


def _hide(controls: Panel, patterns: BoolArray, placebo: _Placebo) -> tuple[Panel, FloatArray]:
    """The controls' panel with one placebo block, and the stress effect (zero mean over its usable cells)."""
    n_kept = len(controls.periods) - placebo.shift
    mask = np.zeros((len(controls.units), n_kept), dtype=np.bool_)
    mask[list(placebo.rows)] = patterns[:, placebo.shift :]
    hidden = replace(
        controls,
        periods=controls.periods[:n_kept],
        outcome=controls.outcome[:, :n_kept],
        arm=np.where(controls.usable[:, :n_kept] | mask, mask.astype(np.int64), controls.arm[:, :n_kept]),
        exposure=None,
        left_out=tuple((reason, left[:, :n_kept]) for reason, left in controls.left_out),
    )
    steps = np.diff(hidden.outcome, axis=1)
    size = STRESS * float(np.nanstd(steps))
    target = mask & hidden.usable
    unit, time = np.indices(mask.shape)
    ramp = np.where(target, time - time[target].mean(), 0.0)
    tilt = np.where(target, unit - unit[target].mean(), 0.0)
    stress = sum(size * part / np.abs(part).max() for part in (ramp, tilt) if np.abs(part).max() > 0)
    return hidden, np.where(target, stress, 0.0)


def _try(
    method: str, base: PanelFit, hidden: Panel, stress: FloatArray, ses: tuple[Se, ...], level: float, placebo: _Placebo
) -> _Outcome:
    rng = np.random.default_rng(placebo.seed)
    fit = _refit(method, base, hidden)
    stressed = _refit(method, base, replace(hidden, outcome=hidden.outcome + stress))
    slow = isinstance(fit.estimator, MaskedEstimator) and fit.estimator.slow
    draws = SLOW_DRAWS if slow else DRAWS
    groups, windows = MASKED_PLACES if isinstance(fit.estimator, MaskedEstimator) else WEIGHTED_PLACES
    intervals: dict[str, tuple[bool, float]] = {}
    refused: dict[str, str] = {}
    for kind in ses if placebo.number % SLOW_EVERY == 0 or not slow else ():
        try:
            found = uncertainty_of(
                fit, hidden, kind, rng, level=level, draws=draws, control_groups=groups, windows=windows
            )
        except NotEstimable as refusal:
            refused[kind] = str(refusal)
        else:
            half = found.quantile * found.se
            intervals[kind] = (abs(fit.effect) <= half, 2 * half)
    return _Outcome(fit.effect, stressed.effect, intervals, refused)


def _refit(method: str, base: PanelFit, hidden: Panel) -> PanelFit:
    if isinstance(base, MaskFit):
        fit = base.estimator.refit(hidden.outcome, hidden.usable, hidden.treated, base.fit)
        return MaskFit(base.estimator, hidden, fit)
    return fit_panel(hidden, method)


def _scores(methods: list[str], outcomes: list[dict[str, _Outcome]]) -> tuple[MethodScore, ...]:
    squares = {method: np.array([one[method].error ** 2 for one in outcomes]) for method in methods}
    ranking = sorted(methods, key=lambda method: float(squares[method].mean()))
    best = squares[ranking[0]]
    scores = []
    for method in ranking:
        mine = [one[method] for one in outcomes]
        excess = squares[method] - best
        scores.append(
            MethodScore(
                method=method,
                rmse=_root(squares[method]),
                bias=_mean(np.array([one.error for one in mine])),
                stress_rmse=_root(np.array([one.stress_error**2 for one in mine])),
                standard_errors=_se_scores(mine),
                refused=tuple({kind: why for one in mine for kind, why in one.refused.items()}.items()),
                as_good_as_best=bool(excess.mean() <= 2 * excess.std() / sqrt(len(excess))),
            )
        )
    return tuple(scores)


def _se_scores(outcomes: list[_Outcome]) -> tuple[SeScore, ...]:
    kinds = dict.fromkeys(kind for one in outcomes for kind in one.intervals)
    scores = []
    for kind in kinds:
        intervals = [one.intervals[kind] for one in outcomes if kind in one.intervals]
        covered, widths = (np.array(column, dtype=np.float64) for column in zip(*intervals, strict=True))
        scores.append(SeScore(kind, _mean(covered), _mean(widths), len(intervals)))
    return tuple(scores)


def _mean(values: FloatArray) -> Rate:
    return Rate(float(values.mean()), float(values.std() / sqrt(len(values))))


def _root(squares: FloatArray) -> Rate:
    """Root of a mean with its delta-method standard error."""
    root = float(np.sqrt(squares.mean()))
    return Rate(root, float(squares.std() / sqrt(len(squares)) / (2 * root)) if root > 0 else 0.0)


def _recommend(scores: tuple[MethodScore, ...], level: float) -> str:
    """The most accurate method, and its narrowest interval among those that keep their promise."""
    best = scores[0]
    others = [score.method for score in scores[1:] if score.as_good_as_best]
    sentence = f"Use {best.method}: lowest error on blocks like yours (RMSE {best.rmse.value:.4g})"
    if others:
        sentence += f", though {', '.join(others)} cannot be told from it with this many placebos"
    honest = [one for one in best.standard_errors if one.coverage.value >= level - 2 * max(one.coverage.se, 1e-3)]
    if honest:
        narrowest = min(honest, key=lambda one: one.width.value)
        sentence += (
            f"; tell its uncertainty by {narrowest.kind} (its {level:.0%} intervals held the truth "
            f"{narrowest.coverage.value:.0%} of the time)"
        )
    elif best.standard_errors:
        closest = max(best.standard_errors, key=lambda one: one.coverage.value)
        sentence += (
            f"; no interval of it kept its promise: the closest, {closest.kind}, held the truth only "
            f"{closest.coverage.value:.0%} of the time, so widen it"
        )
    if best.stress_rmse.value > 1.2 * best.rmse.value:
        sentence += "; it assumes one effect for all cells and errs more when effects differ"
    return sentence + "."
