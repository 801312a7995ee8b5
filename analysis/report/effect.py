"""The second picture: the effect after each closed block, with the always-valid and the fixed-horizon interval.

The line and the always-valid interval are the running sequence's, the fixed-horizon interval that of the published
estimates, as the table below the picture has it; nothing is computed here. It is valid once, on the planned day, so
before that day it is drawn as a preview and decides nothing. Money is in the currency's own unit.
"""

from datetime import date
from typing import Any

import altair as alt

from analysis.export.headline import Quote, finding, interval_text, kind_text
from analysis.report.series import Pair, Series
from analysis.report.series import series_of as series_of
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
from controller.definition.money import major

#: an early interval is many times wider than a late one: the axis shows what comes after this share of the looks
FROM_SHARE = 0.2
NAMES = {"units": "Units sold", "revenue": "Revenue", "margin": "Margin"}


def effect_chart(series: Series, width: Width = 1100, height: int = 330, *, titled: bool = True) -> Any:
    """Effect and intervals by the last day of each closed block; raises ValueError where there is no look to draw."""
    if not series.looks:
        raise ValueError(f"{series.metric} of {series.arm}: nothing to draw; {series.reason_absent or 'no look yet'}")
    lines, domain, dashes, colours = _lines(series)
    low, high = _span(series)
    last = series.looks[-1]
    end = max(filter(None, (series.planned_day, last.day, *(one.day for one in series.fixed))))
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
    # One estimate alone, as Kafka keeps it, makes no band: it is a bar at its day.
    bars = (
        alt.Chart(data(_band(series, "fixed")[-1:], "day"))
        .mark_rule(clip=True, color=BLUE, strokeWidth=2)
        .encode(x=x, y=alt.Y("low:Q", title=unit, scale=reach), y2="high:Q")
    )
    points = (
        alt.Chart(data(_points(series), "day"))
        .mark_point(filled=True, color=INK, opacity=1, clip=True, size=36 if len(series.looks) < 60 else 12)
        .encode(
            x=x,
            y=y,
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("block to", "effect", "always-valid", "fixed-horizon")],
        )
    )
    layers = [*bands, zero, edges, *([bars] if series.fixed else []), points]
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
        main = alt.layer(main, _relative(low, high, last.control_mean)).resolve_scale(y="independent")
    heading = (title(series), subtitle(series)) if titled else None
    return styled(main, heading, width, height)


def title(series: Series) -> str:
    """The quoted number and what its interval says, in a sentence."""
    said = f"{NAMES[series.metric]}, arm {series.arm}"
    found = series.headline
    if found is None or found.quoted is None:
        return f"{said}: no number"
    return f"{said}: {_quoted(series, found.quoted)}; {finding(found)}"


def subtitle(series: Series) -> list[str]:
    """Both intervals by name: the quoted one first, and what each is valid for."""
    found, said = series.headline, []
    if found is not None:
        for quote in filter(None, (found.quoted, found.other)):
            said.append(f"{kind_text(found, quote).capitalize()}: {_quoted(series, quote)}.")
        said += [f"No {kind} interval: {reason}." for kind, reason in found.reasons.items()]
    return [*said, f"{counted(len(series.looks), 'look')}; the last one on {series.looks[-1].day}."]


def _quoted(series: Series, quote: Quote) -> str:
    """``−9.9 % [−11.9 %, −7.8 %], −3.85 pieces per unit-day``, as far as there is each."""
    parts = [interval_text(quote.relative)] if quote.relative is not None else []
    if quote.absolute is not None:
        own = quote.absolute.value if series.metric == "units" else major(quote.absolute.value, series.currency)
        parts.append(f"{number(own)} {series.unit} per unit-day")
    return ", ".join(parts)


def _lines(series: Series) -> tuple[Rows, list[str], list[list[int]], list[str]]:
    """Long rows of all lines, and the names, dashes and colours of those that there are."""
    level = series.level
    effect, anytime, fixed, truth = (
        "effect so far",
        f"{level} always-valid",
        f"{level} fixed-horizon, for the planned day",
        "truth (planted)",
    )
    planted = _planted(series)
    rows: Rows = []
    for look in series.looks:
        day = str(look.day)
        rows.append({"day": day, "line": effect, "side": "", "value": look.effect})
        if planted is not None:
            rows.append({"day": day, "line": truth, "side": "", "value": planted})
    for name, at, pair in _edges(series, anytime, fixed):
        rows += [{"day": str(at), "line": name, "side": s, "value": v} for s, v in zip("lh", pair, strict=True)]
    looks = {
        effect: ([1, 0], INK),
        anytime: ([1, 0], "#2b8cc4"),
        fixed: ([5, 3], BLUE),
        truth: ([8, 3, 2, 3], VERMILLION),
    }
    present = [name for name in looks if any(row["line"] == name for row in rows)]
    return rows, present, [looks[n][0] for n in present], [looks[n][1] for n in present]


def _edges(series: Series, anytime: str, fixed: str) -> list[tuple[str, date, Pair]]:
    """Both intervals by name and day."""
    return [(anytime, look.day, look.anytime) for look in series.looks if look.anytime is not None] + [
        (fixed, one.day, one.interval) for one in series.fixed
    ]


def _band(series: Series, name: str) -> Rows:
    edges = _edges(series, "anytime", "fixed")
    return [{"day": str(day), "low": pair[0], "high": pair[1]} for kind, day, pair in edges if kind == name]


def _points(series: Series) -> Rows:
    fixed = {one.day: one for one in series.fixed}
    return [
        {
            "day": str(look.day),
            "value": look.effect,
            "block to": str(look.day),
            "effect": _both_units(look.effect, look.relative),
            "always-valid": "none" if look.anytime is None else _interval(look.anytime, look.relative_anytime),
            "fixed-horizon": _interval(one.interval, one.relative_interval) if (one := fixed.get(look.day)) else "none",
        }
        for look in series.looks
    ]


def _relative(low: float, high: float, mean: float) -> Any:
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
        values += [look.effect, *(look.anytime or ())]
    values += [value for one in series.fixed if one.day >= kept[0].day for value in one.interval]
    margin = 0.06 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _planted(series: Series) -> float | None:
    """The truth in the metric's unit: at the last look's control mean, as the right-hand axis has it."""
    mean = series.looks[-1].control_mean
    return None if series.truth is None or mean is None else series.truth * mean


def _both_units(value: float, relative: float | None) -> str:
    return number(value) if relative is None else f"{number(value)} ({percent(relative)})"


def _interval(pair: tuple[float, float], relative: tuple[float, float] | None) -> str:
    if relative is not None:
        return f"{percent(relative[0])} to {percent(relative[1])}"
    return f"{number(pair[0])} to {number(pair[1])}"
