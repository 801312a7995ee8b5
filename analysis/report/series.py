"""What is drawn of one metric and arm: its looks, its fixed-horizon estimates, and the number that is quoted."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.export.headline import Headline, headline
from analysis.report.style import Rows
from controller.definition.money import major
from controller.messages.events import OBSERVATIONAL

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What is drawn of one look; None where there is no such number."""

    day: date
    effect: float
    anytime: Pair | None
    control_mean: float | None
    #: the same as a share of control's mean
    relative: float | None = None
    relative_anytime: Pair | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """The fixed-horizon estimate as it stood on a day."""

    day: date
    effect: float
    interval: Pair
    relative: float | None = None
    relative_interval: Pair | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric and arm, in pieces or in the currency's unit per unit-day."""

    metric: str
    arm: str
    looks: tuple[Look, ...]
    fixed: tuple[Fixed, ...]
    #: what is quoted; None where nothing was published
    headline: Headline | None
    planned_day: date | None
    confidence: float
    #: planted effect, relative to control
    truth: float | None
    currency: str
    #: why there is no always-valid interval
    reason_absent: str | None

    @property
    def unit(self) -> str:
        return "pieces" if self.metric == "units" else self.currency

    @property
    def level(self) -> str:
        return f"{100 * self.confidence:.0f} %"


def series_of(
    sequences: pa.Table, estimates: pa.Table, metric: str, arm: str, currency: str, truth: float | None = None
) -> Series:
    """The looks of a metric and arm: of its running sequence, or, where there is none, its daily estimates."""

    def own(value: float) -> float:
        return value if metric == "units" else major(value, currency)

    def both(low: float | None, high: float | None) -> Pair | None:
        return None if low is None or high is None else (own(low), own(high))

    rows = _rows(sequences, metric, arm)
    looks = tuple(
        Look(
            r["day"],
            own(r["effect"]),
            both(r["anytime_low"], r["anytime_high"]),
            None if r["control_mean"] is None else own(r["control_mean"]),
            r.get("relative"),
            _both(r.get("relative_low"), r.get("relative_high")),
        )
        for r in rows
        if r["effect"] is not None
    )
    drawn = [r for r in _rows(estimates, metric, arm) if r["estimator"] != OBSERVATIONAL]
    daily = [r for r in drawn if r["absolute"] is not None]
    reasons = [r["reason_absent"] for r in rows if r["reason_absent"]]
    if not looks:
        looks = tuple(
            Look(
                r["day"],
                own(r["absolute"]),
                None,
                None if (mean := _mean(r)) is None else own(mean),
                r["relative"],
                None,
            )
            for r in daily
        )
        reasons = reasons or [r["reason_absent"] for r in drawn[-1:] if r["reason_absent"]]
    fixed = tuple(
        Fixed(r["day"], own(r["absolute"]), pair, r["relative"], _both(r["relative_low"], r["relative_high"]))
        for r in daily
        if (pair := both(r["absolute_low"], r["absolute_high"])) is not None
    )
    last = (drawn[-1] if drawn else None, rows[-1] if rows else None)
    said = None if last == (None, None) else headline(*last)
    return Series(
        metric=metric,
        arm=arm,
        looks=looks,
        fixed=fixed,
        headline=said,
        planned_day=None if said is None else said.planned_day,
        confidence=0.95 if said is None else said.confidence,
        truth=truth if metric == "units" else None,
        currency=currency,
        reason_absent=reasons[-1] if reasons else None,
    )


def _rows(table: pa.Table, metric: str, arm: str) -> Rows:
    """A metric's and arm's rows in the order of their days, the highest revision of each."""
    same = pc.and_(*(pc.equal(table[name].cast(pa.string()), is_) for name, is_ in (("metric", metric), ("arm", arm))))
    # What is nested (settings, offsets, reasons) would take ten times as long as all that is drawn.
    flat = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    rows = table.select(flat).filter(same).to_pylist()
    standing = {r["day"]: r for r in sorted(rows, key=lambda r: (r["version"], r["day"], r["revision"]))}
    return [standing[day] for day in sorted(standing)]


def _both(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _mean(row: dict[str, Any]) -> float | None:
    """Control's mean behind a daily estimate: the one that turns its absolute effect into its relative one."""
    return row["absolute"] / row["relative"] if row["relative"] else None
