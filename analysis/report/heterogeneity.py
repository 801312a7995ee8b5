"""Pictures of who responds: effects by level, units in order, and what tells them apart."""

from pathlib import Path
from typing import Any

import altair as alt

from analysis.heterogeneity.hpte_result import Hpte
from analysis.report.picture import save
from analysis.report.style import BLUE, INK, QUIET, Width, data, number, styled


def levels_chart(found: Hpte, outcome: str, width: Width = 560) -> Any:
    """A point and an interval for each level of each attribute; a line at the average."""
    rows = [
        {"level": f"{one.attribute}: {one.level}", "effect": one.effect, "low": one.low, "high": one.high}
        for one in found.levels
    ]
    base = alt.Chart(data(rows)).encode(y=alt.Y("level:N", sort=[str(row["level"]) for row in rows], title=None))
    lines = base.mark_rule(color=BLUE).encode(x=alt.X("low:Q", title=f"effect on {outcome}"), x2=alt.X2("high:Q"))
    points = base.mark_point(color=BLUE, filled=True, size=50).encode(x="effect:Q")
    heading = (f"Average effect {number(found.average.line.value)}", [f"{found.level:.0%} intervals, fixed-horizon."])
    return styled(alt.layer(lines, points, _average(found)), heading, width, max(20 * len(rows), 60))


def units_chart(found: Hpte, outcome: str, width: Width = 560) -> Any:
    """Units from the smallest effect to the largest, each with its interval; a line at the average."""
    known = sorted((one for one in found.units if one.effect is not None), key=lambda one: one.effect or 0.0)
    rows = [{"rank": k + 1, "effect": u.effect, "low": u.low, "high": u.high} for k, u in enumerate(known)]
    base = alt.Chart(data(rows)).encode(x=alt.X("rank:Q", title="units, by effect"))
    band = base.mark_area(color=BLUE, opacity=0.25).encode(y=alt.Y("low:Q", title=f"effect on {outcome}"), y2="high:Q")
    line = base.mark_line(color=BLUE).encode(y="effect:Q")
    at = alt.Chart(data([{"y": found.average.line.value}])).mark_rule(color=INK, strokeDash=[4, 3]).encode(y="y:Q")
    verdict = found.calibration
    holds = verdict is not None and verdict.intervals_hold
    said = (
        f"{found.level:.0%} intervals" if holds else "intervals of units hold noise only, and cover less than they say"
    )
    return styled(alt.layer(band, line, at), (f"{len(rows)} units", [f"{said}; dashed: the average."]), width, 260)


def importance_chart(found: Hpte, width: Width = 560) -> Any:
    """A bar for each attribute: its share of what moves effects."""
    rows = [{"attribute": name, "share": share} for name, share in found.importance]
    chart = (
        alt.Chart(data(rows))
        .mark_bar(color=QUIET, height=12)
        .encode(
            x=alt.X("share:Q", title="share of the spread of effects", axis=alt.Axis(format="%")),
            y=alt.Y("attribute:N", sort=[str(row["attribute"]) for row in rows], title=None),
        )
    )
    heading = ("What tells units apart", ["How much shuffling an attribute moves their effects."])
    return styled(alt.layer(chart), heading, width, max(20 * len(rows), 60))


def save_pictures(found: Hpte, outcome: str, folder: Path) -> tuple[Path, ...]:
    """Write the three as SVG; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    charts = {"units": units_chart(found, outcome), "importance": importance_chart(found)}
    if found.levels:
        charts["levels"] = levels_chart(found, outcome)
    for name, chart in charts.items():
        save(chart, folder / f"{name}.svg")
    return tuple(folder / f"{name}.svg" for name in charts)


def _average(found: Hpte) -> Any:
    value = data([{"x": found.average.line.value}])
    return alt.Chart(value).mark_rule(color=INK, strokeDash=[4, 3]).encode(x="x:Q")
