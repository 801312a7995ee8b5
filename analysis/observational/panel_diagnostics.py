"""What a reader asks of a panel estimate: who is the control, did it follow, who moves it, what would a trend do?"""

from dataclasses import dataclass

import numpy as np

from analysis.observational.cohorts import Block
from analysis.observational.estimators.by_name import MaskedEstimator, WeightedEstimator
from analysis.observational.estimators.weighted import WeightedFit
from analysis.observational.inference.jackknife import leave_out_effects
from analysis.observational.inference.placebo import Placebos
from analysis.observational.panel_fit import CohortFit, MaskFit, PanelFit, treated_rows
from analysis.panel_data.panel import FloatArray


@dataclass(frozen=True, slots=True)
class Weight:
    """A unit or period and its share in the comparison."""

    label: str
    weight: float


@dataclass(frozen=True, slots=True)
class Influence:
    """What the effect would be without one unit or period; the weights of the others are scaled up, not refitted."""

    label: str
    effect_without: float


@dataclass(frozen=True, slots=True)
class PreTrend:
    """A line through the gaps before the treatment, and what going on along it would mean."""

    #: units of the outcome per period
    slope: float
    #: standard error of the slope, as if the gaps were independent
    slope_se: float
    #: the effect, were the pre-period line to go on
    effect_if_continued: float
    #: the slope that would explain all of the effect, as a multiple of the fitted slope's standard error
    slopes_to_zero: float


@dataclass(frozen=True, slots=True)
class TimePlacebo:
    """The effect that the estimator sees where the treatment is pretended to start early; it should be near zero."""

    start: str
    effect: float


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Of one cohort (weighted methods) or of the whole panel (masking methods, which have no weights)."""

    #: first treated period
    cohort: str
    #: largest first
    unit_weights: tuple[Weight, ...]
    time_weights: tuple[Weight, ...]
    #: 1 / sum omega^2: as many equally weighted controls would average noise as well
    effective_controls: float | None
    #: root mean square of the gaps before the treatment, in units of the outcome; None where the method imputes the
    #: treated cells only
    pre_fit: float | None
    #: the same over the spread of the treated mean before the treatment: near or above one, the control does not follow
    relative_pre_fit: float | None
    #: largest change first
    unit_influence: tuple[Influence, ...]
    period_influence: tuple[Influence, ...]
    pre_trend: PreTrend | None
    time_placebos: tuple[TimePlacebo, ...]
    #: quantiles .025, .25, .5, .75, .975 of the placebo effects
    placebo_quantiles: tuple[float, ...] | None
    p_value: float | None


def diagnose(fit: PanelFit, placebos: Placebos | None = None) -> tuple[Diagnostics, ...]:
    """Diagnose each cohort of a fit; ``placebos`` of the whole estimate are repeated in each."""
    if isinstance(fit, MaskFit):
        return (_masked(fit, placebos),)
    return tuple(_cohort(fit, block, one, placebos) for block, one in zip(fit.cohorts.blocks, fit.fits, strict=True))


def _cohort(fit: CohortFit, block: Block, one: WeightedFit, placebos: Placebos | None) -> Diagnostics:
    single = CohortFit(fit.estimator, type(fit.cohorts)((block,)), (one,))
    without = leave_out_effects(single, np.arange(int(block.rows.max()) + 1))[block.rows]
    pre = one.gaps[: block.n_pre]
    spread = float(block.outcome[block.n_control :, : block.n_pre].mean(axis=0).std())
    # SC compares levels: its gaps count as they are; with time weights only their variation does
    fit_size = float(pre.std() if one.time_weights.any() else np.sqrt(np.mean(pre**2)))
    return Diagnostics(
        cohort=block.periods[block.n_pre],
        unit_weights=_weights(block.units[: block.n_control], one.unit_weights),
        time_weights=_weights(block.periods[: block.n_pre], one.time_weights),
        effective_controls=float(1.0 / np.sum(one.unit_weights**2)),
        pre_fit=fit_size,
        relative_pre_fit=fit_size / spread if spread > 0 else float("inf"),
        unit_influence=_influence(block.units, without, one.effect),
        period_influence=_influence(block.periods, _without_periods(one), one.effect),
        pre_trend=_pre_trend(one),
        time_placebos=_time_placebos(fit.estimator, block),
        placebo_quantiles=_quantiles(placebos),
        p_value=None if placebos is None else placebos.p_value(fit.effect),
    )


def _without_periods(one: WeightedFit) -> FloatArray:
    """(T,) effects without each period, in closed form; NaN where nothing would be left."""
    n_pre, n_post = one.n_pre, len(one.gaps) - one.n_pre
    raw_pre, post = one.gaps[:n_pre], one.gaps[n_pre:]
    # gaps are already less their lambda-weighted mean, which is therefore zero
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = -one.time_weights * raw_pre / (1.0 - one.time_weights)
        before = np.where(one.time_weights > 1.0 - 1e-9, np.nan, one.effect - shift)
        after = (post.sum() - post) / (n_post - 1) if n_post > 1 else np.full(1, np.nan)
    return np.concatenate([before, after])


def _pre_trend(one: WeightedFit) -> PreTrend | None:
    n_pre, n_post = one.n_pre, len(one.gaps) - one.n_pre
    if n_pre < 3:
        return None
    times = np.arange(n_pre) - (n_pre - 1) / 2
    pre = one.gaps[:n_pre]
    square = float(times @ times)
    slope = float(times @ pre) / square
    residual = pre - pre.mean() - slope * times
    slope_se = float(np.sqrt(residual @ residual / (n_pre - 2) / square))
    # distance between the middle of the post-period and the (weighted) middle of what it is compared with
    middle = n_pre + (n_post - 1) / 2
    weights = one.time_weights if one.time_weights.any() else np.full(n_pre, 1.0 / n_pre)
    distance = middle - float(weights @ np.arange(n_pre))
    needed = one.effect / distance
    return PreTrend(
        slope=slope,
        slope_se=slope_se,
        effect_if_continued=one.effect - slope * distance,
        slopes_to_zero=abs(needed) / slope_se if slope_se > 0 else float("inf"),
    )


def _time_placebos(estimator: WeightedEstimator, block: Block, at_most: int = 5) -> tuple[TimePlacebo, ...]:
    """Pretend the treatment started earlier, using nothing from after its real start."""
    first = max(2, block.n_pre // 2)
    starts = np.unique(np.linspace(first, block.n_pre - 1, at_most).astype(np.int64))
    answers = []
    for start in starts[starts >= first]:
        end = min(block.n_pre, int(start) + block.n_post)
        effect = estimator.fit(block.outcome[:, :end], block.n_control, int(start)).effect
        answers.append(TimePlacebo(block.periods[start], effect))
    return tuple(answers)


def _masked(fit: MaskFit, placebos: Placebos | None) -> Diagnostics:
    panel = fit.panel
    target = panel.treated & panel.usable
    rows = treated_rows(panel)
    first = int(target.any(axis=0).argmax())
    before = panel.usable[rows] & ~panel.treated[rows]
    gaps = np.where(before, panel.outcome[rows] - fit.fit.counterfactual[rows], np.nan)
    seen = np.isfinite(gaps)
    number = seen.sum(axis=0)[seen.any(axis=0)]
    fit_size: float | None = None
    relative: float | None = None
    if number.size:
        gap = np.where(seen, gaps, 0.0).sum(axis=0)[seen.any(axis=0)] / number
        outcomes = np.where(seen, panel.outcome[rows], 0.0).sum(axis=0)[seen.any(axis=0)] / number
        fit_size = float(np.sqrt(np.mean(gap**2)))
        relative = fit_size / float(outcomes.std()) if outcomes.std() > 0 else float("inf")
    counts = target.sum(axis=0)
    by_period = np.where(target, panel.outcome - fit.fit.counterfactual, 0.0).sum(axis=0)
    left = counts.sum() - counts
    without = np.where((counts > 0) & (left > 0), (by_period.sum() - by_period) / np.maximum(left, 1), np.nan)
    return Diagnostics(
        cohort=panel.periods[first],
        unit_weights=(),
        time_weights=(),
        effective_controls=None,
        pre_fit=fit_size,
        relative_pre_fit=relative,
        unit_influence=(),
        period_influence=_influence(panel.periods, without, fit.effect),
        pre_trend=None,
        time_placebos=_masked_time_placebos(fit.estimator, fit, first),
        placebo_quantiles=_quantiles(placebos),
        p_value=None if placebos is None else placebos.p_value(fit.effect),
    )


def _masked_time_placebos(
    estimator: MaskedEstimator, fit: MaskFit, first: int, at_most: int = 5
) -> tuple[TimePlacebo, ...]:
    panel, rows = fit.panel, treated_rows(fit.panel)
    earliest = max(2, first // 2)
    if first - 1 < earliest:
        return ()
    n_post = len(panel.periods) - first
    answers = []
    for start in np.unique(np.linspace(earliest, first - 1, at_most).astype(np.int64)):
        end = min(first, int(start) + n_post)
        mask = np.zeros((len(panel.units), end), dtype=np.bool_)
        mask[rows, start:] = True
        usable = panel.usable[:, :end]
        if not (mask & usable).any():
            continue
        refitted = estimator.refit(panel.outcome[:, :end], usable, mask, fit.fit)
        answers.append(TimePlacebo(panel.periods[int(start)], refitted.effect))
    return tuple(answers)


def _weights(labels: tuple[str, ...], weights: FloatArray) -> tuple[Weight, ...]:
    order = np.argsort(-weights, kind="stable")
    return tuple(Weight(labels[k], float(weights[k])) for k in order if weights[k] > 0)


def _influence(labels: tuple[str, ...], without: FloatArray, effect: float) -> tuple[Influence, ...]:
    known = np.flatnonzero(np.isfinite(without))
    order = known[np.argsort(-np.abs(without[known] - effect), kind="stable")]
    return tuple(Influence(labels[k], float(without[k])) for k in order)


def _quantiles(placebos: Placebos | None) -> tuple[float, ...] | None:
    if placebos is None:
        return None
    return tuple(float(q) for q in np.quantile(placebos.effects, (0.025, 0.25, 0.5, 0.75, 0.975)))
