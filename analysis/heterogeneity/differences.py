"""From a panel to one difference per unit and arm: outcome less forecast, after the start, and what is trimmed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.heterogeneity.forecasts import FEWEST_FOR_LEVEL, Forecast, Forecaster, forecast
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from controller.errors import NotEstimable

#: units times the share that is cut, and the most that is
CUT_UNITS = 3.0
MOST_CUT = 0.05


@dataclass(frozen=True, slots=True)
class Differences:
    """One row for each unit and arm that it was under."""

    #: each unit keeps its arm (parallel), or has days of both (crossover: random days and switchbacks too)
    design: Literal["parallel", "crossover"]
    #: (n,) index into the panel's units
    unit: IntArray
    #: (n,) whether the row is of treatment
    treated: BoolArray
    #: (n,) mean of outcome less forecast
    value: FloatArray
    forecast: Forecast
    #: number of pre-periods, and of periods from the start
    before: int
    after: int
    #: why units or periods were left out, a sentence each
    notes: tuple[str, ...]


def start_of(panel: Panel) -> int:
    """Column of the first treated period.

    Raises:
        NotEstimable: nothing was treated, or from the first period on.

    """
    treated = panel.treated.any(axis=0)
    if not treated.any():
        raise NotEstimable("no unit is ever treated: there is nothing to compare")
    start = int(treated.argmax())
    if start < FEWEST_FOR_LEVEL:
        raise NotEstimable(
            f"{start} periods before the first treated one, at least {FEWEST_FOR_LEVEL} are needed to forecast a unit: "
            "add earlier periods; without them the average can still be estimated (flipside estimate --method did)"
        )
    return start


def differences(
    panel: Panel, category: IntArray, *, washout: int = 0, forecaster: Forecaster = "auto", seed: int = 0
) -> Differences:
    """First difference of each unit: mean outcome less forecast, by the arm that it was under.

    Args:
        panel: outcomes and arms; cells that it leaves out are not used.
        category: (N,) codes that forecasts are shrunk to.
        washout: periods after each change of a unit's arm (and after the start) that are skipped.
        forecaster: see :func:`analysis.heterogeneity.forecasts.forecast`.
        seed: see there.

    Raises:
        NotEstimable: too short a history, starts that differ between units, one arm only.

    """
    start = start_of(panel)
    usable, treated = panel.usable, panel.treated
    outcome = np.where(usable, panel.outcome, np.nan)
    known = np.isfinite(outcome[:, :start]).sum(axis=1)
    enough = known >= FEWEST_FOR_LEVEL
    if not enough.any():
        raise NotEstimable(f"no unit has {FEWEST_FOR_LEVEL} outcomes before the start: none can be forecast")
    notes = []
    if not enough.all():
        notes.append(
            f"{int((~enough).sum())} unit(s) have fewer than {FEWEST_FOR_LEVEL} outcomes before the start: left out"
        )
    rows = np.flatnonzero(enough)
    after, counted = treated[rows, start:], usable[rows, start:].copy()
    length = after.shape[1]
    changed = np.ones((len(rows), length), np.bool_)
    changed[:, 1:] = after[:, 1:] != after[:, :-1]
    for lag in range(washout):
        counted[:, lag:] &= ~changed[:, : length - lag]
    whole = after == after[:, :1]
    parallel = bool(whole.all())
    if not parallel:
        both = ((after & counted).any(axis=1)) & ((~after & counted).any(axis=1))
        if both.mean() < 0.5:
            raise NotEstimable(
                f"treatment starts at different periods for different units, and only {int(both.sum())} of "
                f"{len(rows)} have periods of both arms from then on: neither a parallel design nor a "
                "crossover; give one start to each file"
            )
    weekdays = weekdays_of(panel.periods)
    found = forecast(outcome[rows, :start], weekdays, category[rows], length, forecaster, seed)
    left = outcome[rows, start:] - found.values
    if not parallel:
        left, said = _without_days(left, after, counted)
        notes += said
    parts = []
    for arm in (True, False):
        cells = counted & (after == arm) & np.isfinite(left)
        some = cells.any(axis=1)
        mean = np.where(cells, left, 0).sum(axis=1)[some] / cells.sum(axis=1)[some]
        parts.append((rows[some], np.full(int(some.sum()), arm), mean))
    unit, side, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not parallel:
        twice = np.bincount(unit, minlength=len(panel.units))[unit] == 2
        lone = int((~twice).sum())
        notes += [f"{lone} unit(s) have usable periods of one arm only: left out"] if lone else []
        unit, side, value = unit[twice], side[twice], value[twice]
    if not side.any() or side.all():
        raise NotEstimable("one arm has no usable period after the start: there is nothing to compare it with")
    return Differences("parallel" if parallel else "crossover", unit, side, value, found, start, length, tuple(notes))


def _without_days(left: FloatArray, treated: BoolArray, counted: BoolArray) -> tuple[FloatArray, list[str]]:
    """What all units share on a day taken out: the mean of both arms' means. Days of one arm cannot tell it apart."""
    left = left.copy()
    lone = 0
    for day in range(left.shape[1]):
        use = counted[:, day] & np.isfinite(left[:, day])
        high, low = left[use & treated[:, day], day], left[use & ~treated[:, day], day]
        if len(high) and len(low):
            left[:, day] -= (high.mean() + low.mean()) / 2
        else:
            left[:, day] = np.nan
            lone += int(use.any())
    said = (
        [f"{lone} period(s) in which all units had one arm: left out, an effect cannot be told from the day"]
        if lone
        else []
    )
    return left, said


def weekdays_of(periods: tuple[str, ...]) -> IntArray | None:
    """(T,) 0 to 6, None where periods are no consecutive days."""
    try:
        days = np.array(periods, dtype="datetime64[D]").astype(np.int64)
    except ValueError:
        return None
    if any(len(label) != len("2026-01-01") for label in periods) or (np.diff(days) != 1).any():
        return None
    return np.asarray((days + 3) % 7)


def kept(value: FloatArray, treated: BoolArray, unit: IntArray, crossover: bool) -> BoolArray:
    """(n,) rows within the cut, ``min(5 %, 3 / N)`` of the units furthest from their arm's median.

    About the median of its own arm, because one median for both would cut where the effect is. A crossover's unit is
    judged by its own difference, and both of its rows stay or go.
    """
    if crossover:
        order = np.argsort(unit, kind="stable")
        own = np.where(treated, value, -value)
        total = np.bincount(unit, own)
        names = unit[order][::2]
        off = np.abs(total[names] - np.median(total[names]))
        inside = np.zeros(len(total), np.bool_)
        inside[names] = off <= np.quantile(off, 1 - min(MOST_CUT, CUT_UNITS / len(names)))
        stays: BoolArray = inside[unit]
        return stays
    middle = np.where(treated, np.median(value[treated]), np.median(value[~treated]))
    off = np.abs(value - middle)
    within: BoolArray = off <= np.quantile(off, 1 - min(MOST_CUT, CUT_UNITS / len(value)))
    return within
