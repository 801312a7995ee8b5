"""What HPTE publishes: a frozen value with frames of units, attributes and levels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from analysis.heterogeneity.attributes import AttributeMatrix
from analysis.heterogeneity.differences import Differences
from analysis.heterogeneity.forests.calibration import Calibration
from analysis.heterogeneity.hpte_average import Average, Rows, Second
from analysis.heterogeneity.scores import Line, line, mean_error, projection
from analysis.panel_data.panel import FloatArray

#: levels of a number: thirds of the units
PARTS_OF_A_NUMBER = 3
#: units and clusters that a level needs, for an error of its own
FEWEST_IN_A_LEVEL = 5
LABEL = "fixed-horizon"


@dataclass(frozen=True, slots=True)
class UnitEffect:
    """The effect of one unit."""

    unit: str
    #: None where either arm has nobody among its likes
    effect: float | None
    low: float | None
    high: float | None
    #: both arms have an effective size of five among its likes
    comparable: bool
    #: further from its arm's median than the cut: not in the average
    trimmed: bool


@dataclass(frozen=True, slots=True)
class LevelEffect:
    """Mean effect of the units with one level of an attribute."""

    attribute: str
    level: str
    units: int
    effect: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Slope:
    """By how much the effect differs for one more of an attribute's column, others equal."""

    column: str
    slope: Line


@dataclass(frozen=True, slots=True)
class Hpte:
    """Who responds: an average, each unit, what tells units apart, and how far to trust it. Fixed-horizon."""

    design: str
    average: Average
    units: tuple[UnitEffect, ...]
    projection: tuple[Slope, ...]
    #: attribute -> share of the spread of effects that shuffling it moves
    importance: tuple[tuple[str, float], ...]
    levels: tuple[LevelEffect, ...]
    calibration: Calibration | None
    #: share of units that cannot be compared with both arms
    not_comparable: float
    trimmed_treated: int
    trimmed_control: int
    forecaster: str
    forecast_errors: tuple[tuple[str, float], ...]
    centring: str
    n_pre: int
    n_post: int
    level: float
    notes: tuple[str, ...]

    @property
    def unit_frame(self) -> Any:
        """A pandas frame, one row for each unit."""
        return _frame(self.units)

    @property
    def level_frame(self) -> Any:
        """A pandas frame, one row for each level of an attribute."""
        return _frame(self.levels)

    @property
    def projection_frame(self) -> Any:
        """A pandas frame, one row for each column of the attributes."""
        import pandas as pd

        return pd.DataFrame([{"column": s.column, **_plain(s.slope)} for s in self.projection])

    def as_json(self) -> dict[str, Any]:
        """Plain values; what could not be estimated is None."""
        return {
            "label": LABEL,
            "design": self.design,
            "average": {**_plain(self.average.line), "noise": self.average.noise, "draws": self.average.draws},
            "cross_check": _plain(self.average.cross_check),
            "level": self.level,
            "clusters": self.average.clusters,
            "not_comparable": self.not_comparable,
            "trimmed": {"treated": self.trimmed_treated, "control": self.trimmed_control},
            "forecaster": self.forecaster,
            "forecast_errors": dict(self.forecast_errors),
            "centring": self.centring,
            "n_pre": self.n_pre,
            "n_post": self.n_post,
            "calibration": None if self.calibration is None else {
                **_plain(self.calibration), "intervals_hold": self.calibration.intervals_hold,
                "why_not": self.calibration.why_not
            },
            "importance": dict(self.importance),
            "projection": [{"column": s.column, **_plain(s.slope)} for s in self.projection],
            "levels": [_plain(one) for one in self.levels],
            "units": [_plain(one) for one in self.units],
            "notes": list(self.notes),
        }  # fmt: skip


def described(
    names: tuple[str, ...],
    attributes: AttributeMatrix,
    first: Differences,
    rows: Rows,
    second: Second,
    found: Average,
    level: float,
    seed: int,
    notes: tuple[str, ...],
) -> Hpte:
    """Put together what the steps found."""
    from controller.errors import NotEstimable

    x, inside = rows.x[second.inside], second.inside
    cluster = rows.cluster[inside]
    try:
        verdict = second.forest.calibration(x, cluster)
    except NotEstimable as reason:
        verdict, notes = None, (*notes, str(reason))
    lines = projection(second.scores, x, cluster, level)
    gone = rows.treated[~inside]
    units = _units(names, rows, second, found.shared_noise, level)
    return Hpte(
        design=first.design,
        average=found,
        units=units,
        projection=tuple(Slope(c, one) for c, one in zip(attributes.columns, lines[1:], strict=True)),
        importance=_importance(attributes, rows.x, second, seed),
        levels=_levels(attributes, x, second.scores, rows.unit[inside], cluster, found.shared_noise, level),
        calibration=verdict,
        not_comparable=1 - float(np.mean([one.comparable for one in units])),
        trimmed_treated=int(gone.sum()),
        trimmed_control=int((~gone).sum()),
        forecaster=first.forecast.forecaster,
        forecast_errors=tuple(first.forecast.held_out_error.items()),
        centring=second.forest.centring,
        n_pre=first.before,
        n_post=first.after,
        level=level,
        notes=notes,
    )


def _units(names: tuple[str, ...], rows: Rows, second: Second, shared: float, level: float) -> tuple[UnitEffect, ...]:
    """One for each unit; a crossover's two rows have the same attributes, hence leaves, and one stands for both."""
    error = np.empty(len(rows.value))
    error[second.inside] = second.forest.out_of_bag(rows.x[second.inside])[1]
    if not second.inside.all():
        error[~second.inside] = second.forest.predict(rows.x[~second.inside])[1]
    # The forest sees rows that are cut already: the noise of the cut is in no difference between its bags.
    wide = float(norm.ppf(0.5 + level / 2)) * np.sqrt(error**2 + shared)
    out = []
    for unit in np.unique(rows.unit):
        at = int(np.flatnonzero(rows.unit == unit)[0])
        effect, half = float(second.effect[at]), float(wide[at])
        known = bool(np.isfinite(effect) and np.isfinite(half))
        given = effect if np.isfinite(effect) else None
        low, high = (effect - half, effect + half) if known else (None, None)
        comparable, trimmed = bool(second.eligible[at]), not bool(second.inside[at])
        out.append(UnitEffect(names[unit], given, low, high, comparable, trimmed))
    return tuple(out)


def _importance(attributes: AttributeMatrix, x: FloatArray, second: Second, seed: int) -> tuple[tuple[str, float], ...]:
    """Share of ``mean (tau(x) - tau(x with the attribute shuffled))^2`` that each attribute has; largest first."""
    rng = np.random.default_rng(seed)
    base = second.forest.predict(x)[0]
    moved = []
    for k in range(len(attributes.names)):
        other = x.copy()
        columns = np.flatnonzero(attributes.attribute_of == k)
        other[:, columns] = x[rng.permutation(len(x))][:, columns]
        moved.append(float(np.nanmean((second.forest.predict(other)[0] - base) ** 2)))
    total = sum(moved)
    shares = [value / total if total > 0 else 0.0 for value in moved]
    return tuple(sorted(zip(attributes.names, shares, strict=True), key=lambda pair: -pair[1]))


def _levels(
    attributes: AttributeMatrix, x: FloatArray, values: FloatArray, unit: Any, cluster: Any, shared: float, level: float
) -> tuple[LevelEffect, ...]:
    """Mean scores by level: of a text each level, of a number thirds of the units."""
    out = []
    for k, name in enumerate(attributes.names):
        columns = np.flatnonzero(attributes.attribute_of == k)
        if "=" in attributes.columns[columns[0]]:
            masks = [(attributes.columns[c].partition("=")[2], x[:, c] > 0) for c in columns]
        else:
            column = x[:, columns[0]]
            cuts = np.unique(np.quantile(column, np.arange(1, PARTS_OF_A_NUMBER) / PARTS_OF_A_NUMBER))
            part = np.searchsorted(cuts, column, side="left")
            masks = [
                (f"{column[part == g].min():.4g} to {column[part == g].max():.4g}", part == g) for g in np.unique(part)
            ]
        for label, mask in masks:
            clusters, units = len(np.unique(cluster[mask])), len(np.unique(unit[mask]))
            if min(clusters, units) < FEWEST_IN_A_LEVEL:
                continue
            error = float(np.hypot(mean_error(values[mask], cluster[mask]), np.sqrt(shared)))
            one = line(float(values[mask].mean()), error, clusters, level)
            out.append(LevelEffect(name, label, units, one.value, one.low, one.high))
    return tuple(out)


def _plain(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


def _frame(values: tuple[Any, ...]) -> Any:
    import pandas as pd

    return pd.DataFrame([_plain(one) for one in values])
