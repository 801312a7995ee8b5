"""The second picture: the effect after each closed block, with the interval for any time and the one for one look.

Both intervals are those of the running sequence, in the metric's own unit; nothing is computed here. The fixed-horizon
interval is good for one look on its planned day, so before that day it is drawn as a preview and says nothing.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.report.style import (
    BLUE,
    INK,
    QUIET,
    SKY,
    VERMILLION,
    Rows,
    Width,
    counted,
    data,
    number,
    percent,
    styled,
)
from controller.messages.events import OBSERVATIONAL

#: an early interval is many times wider than a late one: the axis shows what comes after this share of the looks
FROM_SHARE = 0.2
NAMES = {"units": "Units sold", "revenue": "Revenue", "margin": "Margin"}


@dataclass(frozen=True, slots=True)
class Look:
    """What is drawn of one look; None where there is no such number."""

    day: date
    effect: float
    anytime: tuple[float, float] | None
    fixed: tuple[float, float] | None
    control_mean: float | None
    #: the same as a share of control's mean
    relative: float | None = None
    relative_anytime: tuple[float, float] | None = None
    relative_fixed: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric and arm."""

    metric: str
    arm: str
    looks: tuple[Look, ...]
    planned_day: date | None
    confidence: float
    #: planted effect, relative to control
    truth: float | None
    currency: str
    #: why there is no interval for any time of looking
    reason_absent: str | None

    @property
    def unit(self) -> str:
        return "pieces" if self.metric == "units" else f"minor units (cents) of {self.currency}"


def series_of(
    sequences: pa.Table, estimates: pa.Table, metric: str, arm: str, currency: str, truth: float | None = None
) -> Series:
    """The looks of a metric and arm: of its running sequence, or, where there is none, its daily estimates."""
    rows = _rows(sequences, metric, arm)
    looks = tuple(
        Look(
            r["day"],
            r["effect"],
            _both(r["anytime_low"], r["anytime_high"]),
            _both(r["fixed_low"], r["fixed_high"]),
            r["control_mean"],
            r.get("relative"),
            _both(r.get("relative_low"), r.get("relative_high")),
            _both(r.get("relative_fixed_low"), r.get("relative_fixed_high")),
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
                r["absolute"],
                None,
                _both(r["absolute_low"], r["absolute_high"]),
                _mean(r),
                r["relative"],
                None,
                _both(r["relative_low"], r["relative_high"]),
            )
            for r in daily
        )
        reasons = reasons or [r["reason_absent"] for r in drawn[-1:] if r["reason_absent"]]
    return Series(
        metric=metric,
        arm=arm,
        looks=looks,
        planned_day=rows[-1]["planned_day"] if rows else None,
        confidence=1 - rows[-1]["alpha"] if rows else (daily[-1]["confidence"] if daily else 0.95),
        truth=truth if metric == "units" else None,
        currency=currency,
        reason_absent=reasons[-1] if reasons else None,
    )


def effect_chart(series: Series, width: Width = 1100, height: int = 330, *, titled: bool = True) -> Any:
    """Effect and intervals by the last day of each closed block; raises ValueError where there is no look to draw."""
    if not series.looks:
        raise ValueError(f"{series.metric} of {series.arm}: nothing to draw; {series.reason_absent or 'no look yet'}")
    lines, domain, dashes, colours = _lines(series)
    low, high = _span(series)
    last = series.looks[-1]
    end = max(filter(None, (series.planned_day, last.day)))
    x = alt.X(
        "day:T",
        title="last local day of the closed block",
        scale=alt.Scale(type="utc", domain=[str(series.looks[0].day), str(end)], nice=False, padding=12),
        axis=alt.Axis(format="%-d %b", grid=False, labelOverlap=True, labelSeparation=10),
    )
    unit, reach = f"{series.unit} per unit-day", alt.Scale(domain=[low, high], nice=False)
    y = alt.Y("value:Q", title=unit, scale=reach, axis=alt.Axis(tickCount=6, format="+,.3~r"))
    scale = alt.Scale(domain=domain, range=colours)
    drawn = alt.Chart(data(lines, "day"))
    bands = [
        alt.Chart(data(_band(series, name), "day"))
        .mark_area(clip=True, color=colour, opacity=opacity)
        .encode(x=x, y=alt.Y("low:Q", title=unit, scale=reach), y2="high:Q")
        for name, colour, opacity in (("anytime", SKY, 0.22), ("fixed", BLUE, 0.16))
    ]
    zero = alt.Chart(data([{"value": 0}])).mark_rule(color="#6b6b6b", strokeWidth=1).encode(y=y)
    edges = drawn.mark_line(clip=True, interpolate="linear").encode(
        x=x,
        y=y,
        detail="side:N",
        color=alt.Color(
            "line:N",
            title=None,
            scale=scale,
            sort=domain,
            legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=500),
        ),
        strokeDash=alt.StrokeDash("line:N", title=None, scale=alt.Scale(domain=domain, range=dashes), sort=domain),
        strokeWidth=alt.condition(f"datum.line == '{domain[0]}'", alt.value(2.6), alt.value(1.6)),
    )
    points = (
        alt.Chart(data(_points(series), "day"))
        .mark_point(filled=True, color=INK, opacity=1, clip=True, size=36 if len(series.looks) < 60 else 12)
        .encode(x=x, y=y, tooltip=[alt.Tooltip(f"{name}:N") for name in ("block to", "effect", "anytime", "fixed")])
    )
    layers = [*bands, zero, edges, points]
    if series.planned_day is not None:
        planned = alt.Chart(data([{"day": str(series.planned_day), "label": "planned day"}], "day"))
        layers += [
            planned.mark_rule(color=QUIET, strokeDash=[2, 3]).encode(x=x),
            planned.mark_text(align="right", baseline="top", dx=-5, dy=2, y=0, fontSize=12, color=QUIET).encode(
                x=x, text="label:N"
            ),
        ]
    main: Any = alt.layer(*layers)
    if last.control_mean is not None and last.control_mean > 0:
        main = alt.layer(main, _relative(low, high, last.control_mean, x)).resolve_scale(y="independent")
    heading = (title(series), subtitle(series)) if titled else None
    return styled(main, heading, width, height)


def title(series: Series) -> str:
    """The finding in a sentence, which never calls a fixed-horizon number decided before its day."""
    last = series.looks[-1]
    share = "" if last.relative is None else f" ({percent(last.relative)})"
    said = f"{NAMES[series.metric]}, arm {series.arm}: {number(last.effect)} {series.unit} per unit-day{share}"
    planned = series.planned_day is not None and last.day >= series.planned_day
    if last.anytime is not None and not last.anytime[0] <= 0 <= last.anytime[1]:
        return f"{said}; {'less' if last.effect < 0 else 'more'} than control, at any time of looking"
    if planned and last.fixed is not None and not last.fixed[0] <= 0 <= last.fixed[1]:
        return f"{said}; {'less' if last.effect < 0 else 'more'} than control, by the planned look"
    if planned:
        return f"{said}; no difference found by the planned look"
    return f"{said} so far; not decided"


def subtitle(series: Series) -> list[str]:
    """The intervals of the last look, and what each is good for."""
    last = series.looks[-1]
    level = f"{100 * series.confidence:.0f} %"
    said = []
    if last.anytime is not None:
        said.append(f"{level} at any time of looking: {_interval(last.anytime, last.relative_anytime)}")
    elif series.reason_absent:
        said.append(f"No interval for any time of looking: {series.reason_absent}")
    if last.fixed is not None:
        day = f"on {series.planned_day}" if series.planned_day else "on the planned day"
        what = (
            "good for one look" if series.planned_day and last.day >= series.planned_day else "a preview: for one look"
        )
        said.append(f"{level} fixed, {what} {day}: {_interval(last.fixed, last.relative_fixed)}")
    return [*said, f"{counted(len(series.looks), 'look')}; the last one on {last.day}."]


def _lines(series: Series) -> tuple[Rows, list[str], list[list[int]], list[str]]:
    """Long rows of all lines, and the names, dashes and colours of those that there are."""
    level = f"{100 * series.confidence:.0f} %"
    effect, anytime, fixed, truth = (
        "effect so far",
        f"{level}, valid at every look",
        f"{level}, valid once: on the planned day",
        "truth (planted)",
    )
    planted = _planted(series)
    rows: Rows = []
    for look in series.looks:
        day = str(look.day)
        rows.append({"day": day, "line": effect, "side": "", "value": look.effect})
        for name, pair in ((anytime, look.anytime), (fixed, look.fixed)):
            if pair is not None:
                rows += [
                    {"day": day, "line": name, "side": side, "value": v} for side, v in zip("lh", pair, strict=True)
                ]
        if planted is not None:
            rows.append({"day": day, "line": truth, "side": "", "value": planted})
    looks = {
        effect: ([1, 0], INK),
        anytime: ([1, 0], "#2b8cc4"),
        fixed: ([5, 3], BLUE),
        truth: ([8, 3, 2, 3], VERMILLION),
    }
    present = [name for name in looks if any(row["line"] == name for row in rows)]
    return rows, present, [looks[n][0] for n in present], [looks[n][1] for n in present]


def _band(series: Series, name: str) -> Rows:
    pairs = [(look.day, look.anytime if name == "anytime" else look.fixed) for look in series.looks]
    return [{"day": str(day), "low": pair[0], "high": pair[1]} for day, pair in pairs if pair is not None]


def _points(series: Series) -> Rows:
    return [
        {
            "day": str(look.day),
            "value": look.effect,
            "block to": str(look.day),
            "effect": _both_units(look.effect, look.relative),
            "anytime": "none" if look.anytime is None else _interval(look.anytime, look.relative_anytime),
            "fixed": "none" if look.fixed is None else _interval(look.fixed, look.relative_fixed),
        }
        for look in series.looks
    ]


def _relative(low: float, high: float, mean: float, x: Any) -> Any:
    """A right-hand axis in per cent of control's mean at the last look: the same picture, read in shares."""
    domain = [100 * low / mean, 100 * high / mean]
    return (
        alt.Chart(data([{"share": 0.0}]))
        .mark_point(opacity=0)
        .encode(
            y=alt.Y(
                "share:Q",
                title="% of control's mean",
                scale=alt.Scale(domain=domain, nice=False),
                axis=alt.Axis(orient="right", grid=False, tickCount=6, format="+,.3~r"),
            )
        )
    )


def _span(series: Series) -> tuple[float, float]:
    """The range of the y axis: zero, the truth, and all intervals but the first, wide ones."""
    planted = _planted(series)
    kept = series.looks[min(int(len(series.looks) * FROM_SHARE), len(series.looks) - 1) :]
    values = [0.0 if planted is None else planted, 0.0]
    for look in kept:
        values += [look.effect, *(look.anytime or ()), *(look.fixed or ())]
    margin = 0.06 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _planted(series: Series) -> float | None:
    """The truth in the metric's unit: at the last look's control mean, as the right-hand axis has it."""
    mean = series.looks[-1].control_mean
    return None if series.truth is None or mean is None else series.truth * mean


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


def _both_units(value: float, relative: float | None) -> str:
    return number(value) if relative is None else f"{number(value)} ({percent(relative)})"


def _interval(pair: tuple[float, float], relative: tuple[float, float] | None) -> str:
    if relative is not None:
        return f"{percent(relative[0])} to {percent(relative[1])}"
    return f"{number(pair[0])} to {number(pair[1])}"
