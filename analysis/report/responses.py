"""Who responds, and which clusters carry the number: pictures and rows of a running experiment. Fixed-horizon."""

from html import escape
from typing import Any

import altair as alt
import pyarrow as pa

from analysis.export.rows import latest_of_series
from analysis.export.schemas import Tables
from analysis.panel_data.study import METRICS
from analysis.report.style import BLUE, INK, QUIET, Width, data, html_table, number, percent, styled
from controller.definition.money import major

PARTS = ("average", "level", "group", "slope")
SAYS = {
    "average": "all units",
    "level": "a level of an attribute, on all units",
    "group": "found on one half of the clusters, measured on the other",
    "slope": "more of it for one more of the attribute, others equal",
}
#: fields of a row that a machine gets
SHOWN = ("part", "name", "effect", "low", "high", "units", "clusters", "q", "named")
CARRIERS = ("rank", "cluster", "move", "effect", "effect_without")


def as_json(responses: pa.Table, influence: pa.Table) -> list[dict[str, Any]]:
    """An object for each metric and arm: who responds, and the ten clusters that carry its number."""
    who, carriers = _by_series(responses), _by_series(influence)
    found = []
    for metric, arm in sorted(who.keys() | carriers.keys(), key=_order):
        mine, moved = who.get((metric, arm), []), carriers.get((metric, arm), [])
        first = (mine or moved)[0]
        found.append(
            {
                "metric": metric,
                "arm": arm,
                "label": "fixed-horizon",
                "day": str(first["day"]),
                "planned_day": str(first["planned_day"]),
                "responses": [{name: row[name] for name in SHOWN} for row in mine if row["part"]],
                "looked_at": mine[0]["looked_at"] if mine else None,
                "notes": mine[0]["notes"] or [] if mine else [],
                "responses_reason_absent": mine[0]["reason_absent"] if mine else NO_ATTRIBUTES,
                "influence": [{name: row[name] for name in CARRIERS} for row in moved if row["rank"]],
                "turning": moved[0]["turning"] if moved else None,
                "turning_is_smallest": moved[0]["turning_is_smallest"] if moved else None,
                "influence_reason_absent": moved[0]["reason_absent"] if moved else None,
            }
        )
    return found


NO_ATTRIBUTES = "the catalog gave units no category and no attributes when the experiment was registered"


def section(tables: Tables, currency: str, charts: dict[str, dict[str, Any]]) -> list[str]:
    """The report's two parts; nothing of the first where the catalog gave units no attributes."""
    return [*_who(_by_series(tables["responses"]), charts), *_carriers(_by_series(tables["influence"]), currency)]


def responses_chart(rows: list[dict[str, Any]], width: Width = 700) -> Any:
    """The average with its band, and a point and an interval for each level and group."""
    (average,) = (row for row in rows if row["part"] == "average")
    drawn = [
        {
            "of": _label(row),
            "kind": "group that differs" if row["named"] else row["part"],
            **{name: row[name] for name in ("effect", "low", "high")},
        }
        for row in rows
        if row["part"] in ("level", "group")
    ]
    title = "effect relative to control, fixed-horizon 95 %"
    x = alt.X("low:Q", title=title, axis=alt.Axis(format="%"))
    band = alt.Chart(data([{name: average[name] for name in ("effect", "low", "high")}]))
    layers: list[Any] = [
        band.mark_rect(color=QUIET, opacity=0.15).encode(x=x, x2="high:Q"),
        band.mark_rule(color=INK).encode(x="effect:Q"),
    ]
    if drawn:
        kinds = alt.Scale(domain=["level", "group", "group that differs"], range=[INK, QUIET, BLUE])
        base = alt.Chart(data(drawn)).encode(
            y=alt.Y("of:N", sort=[row["of"] for row in drawn], title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("kind:N", scale=kinds, title=None),
        )
        layers += [
            base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q"),
            base.mark_point(filled=True, size=70, opacity=1).encode(
                x="effect:Q", tooltip=["of:N", "effect:Q", "low:Q", "high:Q"]
            ),
        ]
    return styled(alt.layer(*layers), None, width, max(26 * len(drawn), 60))


def _who(series: dict[tuple[str, str], list[dict[str, Any]]], charts: dict[str, dict[str, Any]]) -> list[str]:
    if not series:
        return []
    any_row = next(iter(series.values()))[0]
    parts = [
        "<h2>Who responds</h2>",
        f"<p>Fixed-horizon numbers of {any_row['day']}, computed once a day from closed days: valid for one look, on"
        f" {any_row['planned_day']}, and a preview before it. Each unit is measured in its own level and counts the"
        " same; attributes are those that the catalog had when the experiment was registered. One in twenty intervals"
        " excludes the truth: a level tells a difference only where it was asked for beforehand, a group where it is"
        " said to differ.</p>",
    ]
    lines = []
    for (metric, arm), rows in series.items():
        told = sorted((row for row in rows if row["part"]), key=lambda row: PARTS.index(row["part"]))
        if metric == METRICS[0] and told:
            name = f"responses-{arm}"
            charts[name] = responses_chart(told, "container").to_dict(validate=False)
            parts += [
                f"<figure><h3>{escape(_finding(told))}</h3>",
                f"<p class=note>{escape(metric)}, {escape(arm)}: {rows[0]['looked_at']} groups were looked at.</p>",
                f'<div class="chart" id="{escape(name)}"></div></figure>',
            ]
        lines += [_line(metric, arm, row) for row in told]
        if not told:
            lines.append([metric, arm, "", "", f"none: {rows[0]['reason_absent']}", "", "", ""])
    head = ("metric", "arm", "of", "what it is", "relative to control [95 %]", "units", "clusters", "differs")
    notes = dict.fromkeys(note for rows in series.values() for note in rows[0]["notes"] or ())
    return [*parts, html_table(head, lines), *(f"<p class=note>{escape(note)}</p>" for note in notes)]


def _carriers(series: dict[tuple[str, str], list[dict[str, Any]]], currency: str) -> list[str]:
    if not series:
        return []
    lines, said = [], []
    for (metric, arm), rows in series.items():
        first = rows[0]
        if not first["rank"]:
            said.append(f"{metric}, {arm}: {first['reason_absent']}.")
            continue
        turning = first["turning"]
        if turning:
            smallest = "no smaller set does that" if first["turning_is_smallest"] else "a smaller set may exist"
            said.append(f"{metric}, {arm}: without {', '.join(turning)} the sign would turn; {smallest}.")
        for row in sorted(rows, key=lambda row: int(row["rank"])):
            values = [row[name] if metric == "units" else major(row[name], currency) for name in CARRIERS[2:]]
            lines.append([metric, arm, row["cluster"], *(number(value) for value in values)])
    head = ("metric", "arm", "cluster", "moves it by", "effect per unit-day", "without the cluster")
    return [
        "<h2>Which clusters carry it</h2>",
        "<p>The ten clusters that move each fixed-horizon effect most: the effect, less the effect without them.</p>",
        *([html_table(head, lines)] if lines else []),
        *(f"<p class=note>{escape(sentence)}</p>" for sentence in said),
    ]


def _finding(rows: list[dict[str, Any]]) -> str:
    named = [row for row in rows if row["named"]]
    if named:
        of = "; ".join(f"{row['name']}: {percent(row['effect'])}" for row in named)
        return f"{len(named)} group{'s' if len(named) > 1 else ''} differ{'' if len(named) > 1 else 's'}: {of}"
    return "No group is shown to differ"


def _label(row: dict[str, Any]) -> str:
    return f"{row['name']} (group)" if row["part"] == "group" else str(row["name"])


def _line(metric: str, arm: str, row: dict[str, Any]) -> list[str]:
    span = f"{percent(row['effect'])} [{percent(row['low'])}, {percent(row['high'])}]"
    differs = "" if row["named"] is None else f"yes, q = {row['q']:.3g}" if row["named"] else "not shown"
    counts = [f"{row['units']:,}", f"{row['clusters']:,}"]
    return [metric, arm, row["name"], SAYS[row["part"]], span, *counts, differs]


def _by_series(table: pa.Table) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in latest_of_series(table):
        found.setdefault((row["metric"], row["arm"]), []).append(row)
    return {key: found[key] for key in sorted(found, key=_order)}


def _order(series: tuple[str, str]) -> tuple[str, int]:
    return series[1], METRICS.index(series[0])
