"""Who pays for it: the naive number beside total, direct and spillover effects, as a picture and as rows."""

from html import escape
from typing import Any

import altair as alt
import pyarrow as pa

from analysis.export.rows import latest_of_series
from analysis.panel_data.study import METRICS
from analysis.report.style import BLUE, INK, VERMILLION, Width, data, html_table, number, styled
from controller.definition.money import major

ORDER = ("naive", "total", "direct", "spillover")
ESTIMATORS = ("hajek", "linear")
COMPARES = {
    "naive": "treated and control units, whatever their neighbours are",
    "total": "everybody treated, and nobody",
    "direct": "treated alone, and nobody treated",
    "spillover": "control among treated neighbours, and nobody treated",
}


def rows_of(table: pa.Table, currency: str) -> list[dict[str, Any]]:
    """The effects that stand, money in the currency's own unit, in the order of the picture."""
    found = []
    for row in latest_of_series(table):
        money = row["metric"] != "units"
        scaled = {
            name: None if row[name] is None else major(row[name], currency) if money else row[name]
            for name in ("value", "se", "low", "high")
        }
        found.append({**row, **scaled, "unit": currency if money else "pieces"})
    return sorted(
        found,
        key=lambda r: (
            METRICS.index(r["metric"]), r["arm"],
            ORDER.index(r["effect"]) if r["effect"] else -1,
            ESTIMATORS.index(r["exposure_estimator"]) if r["exposure_estimator"] else -1,
        ),
    )  # fmt: skip


def spillover_chart(rows: list[dict[str, Any]], width: Width = 700, *, titled: bool = True) -> Any:
    """Naive against corrected effects of one metric and arm; ValueError where none has a number."""
    drawn = [
        {
            "effect": f"{row['effect']}, {row['exposure_estimator']}" if row["effect"] != "naive" else "naive",
            "kind": "naive" if row["effect"] == "naive" else "corrected",
            **{name: row[name] for name in ("value", "low", "high")},
        }
        for row in rows
        if row["value"] is not None
    ]
    if not drawn:
        raise ValueError("no effect has a number: there is nothing to draw")
    names = [row["effect"] for row in drawn]
    y = alt.Y("effect:N", sort=names, title=None, axis=alt.Axis(labelLimit=200))
    title = f"{rows[0]['unit']} per unit-day, fixed-horizon 95 %"
    colour = alt.Color(
        "kind:N", title=None, scale=alt.Scale(domain=["naive", "corrected"], range=[VERMILLION, BLUE])
    )  # fmt: skip
    base = alt.Chart(data(drawn))
    bars = base.mark_rule(strokeWidth=2.5).encode(y=y, x=alt.X("low:Q", title=title), x2="high:Q", color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=y, x=alt.X("value:Q", title=title), color=colour, tooltip=["effect:N", "value:Q", "low:Q", "high:Q"]
    )
    zero = alt.Chart(data([{"value": 0}])).mark_rule(color=INK, strokeDash=[3, 3]).encode(x="value:Q")
    heading = (f"{rows[0]['metric']}, arm {rows[0]['arm']}: naive and corrected", [_cut(rows[0])]) if titled else None
    return styled(alt.layer(zero, bars, points), heading, width, 34 * len(drawn) + 30)


def said(row: dict[str, Any]) -> str:
    """A number with its interval, or why there is none."""
    if row["value"] is None:
        return f"none: {row['reason_absent']}"
    if row["low"] is None:
        return f"{number(row['value'])} [no interval: {row['reason_absent']}]"
    return f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"


def section(table: pa.Table, currency: str, charts: dict[str, dict[str, Any]]) -> list[str]:
    """The report's part; nothing where no graph of substitutes was published."""
    rows = rows_of(table, currency)
    if not rows:
        return []
    parts = [
        "<h2>Who pays for it</h2>",
        f"<p>{escape(_cut(rows[0]))} Fixed-horizon numbers: valid for one look, on the planned day. Units that the"
        " design can never put into an exposure are dropped from its effects, and counted.</p>",
    ]
    if rows[0]["caution"]:
        parts.append(f'<p class="warning">{escape(rows[0]["caution"])}</p>')
    lines = []
    for metric, arm in dict.fromkeys((row["metric"], row["arm"]) for row in rows):
        mine = [row for row in rows if (row["metric"], row["arm"]) == (metric, arm)]
        if any(row["value"] is not None for row in mine):
            name = f"spillover-{arm}-{metric}"
            charts[name] = spillover_chart(mine, "container", titled=False).to_dict(validate=False)
            parts.append(
                f'<figure><h3>{escape(metric)}, {escape(arm)}</h3><div class="chart" id="{escape(name)}"></div>'
            )
            parts.append("</figure>")
        for row in mine:
            lines.append(
                [metric, arm, row["effect"] or "", row["exposure_estimator"] or "", said(row), str(row["dropped"] or 0)]
            )
    head = ("metric", "arm", "effect", "estimator", "per unit-day", "units dropped")
    return [*parts, html_table(head, lines)]


def _cut(row: dict[str, Any]) -> str:
    if row["cut"] is None:
        return f"Graph {row['graph']} cannot be used."
    return f"By graph {row['graph']}: {row['cut']:.0%} of its weight between these units leaves its cluster."
