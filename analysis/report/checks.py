"""The third picture: every assumption that a number rests on, and how far it is from the line where it breaks."""

from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import pyarrow as pa

from analysis.report.style import BLUE, FAINT, INK, ORANGE, VERMILLION, Rows, Width, counted, data, styled

#: how a check's value relates to its line: a p-value or a share must stay above it, a gap or a time below
Kind = Literal["p", "share", "gap", "seconds", "hours", "sd"]


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a check asks, in the analyst's words."""

    asks: str
    kind: Kind


ASSUMPTIONS: dict[str, Assumption] = {
    "sample-ratio": Assumption("As many unit-days as planned in each arm?", "gap"),
    "fidelity": Assumption("Was the assigned price the one shown?", "share"),
    "reporting": Assumption("Do pricing systems report what they show?", "share"),
    "activation-lag": Assumption("Are prices switched in time?", "seconds"),
    "carryover": Assumption("Does an arm act for no longer than assumed?", "p"),
    "non-anticipation": Assumption("Does no arm act before it starts?", "p"),
    "weekday-balance": Assumption("The same weekdays in both arms?", "gap"),
    "treated-share": Assumption("The planned share of clusters treated?", "gap"),
    "pre-period-balance": Assumption("Were the arms alike before the start?", "sd"),
    "missingness": Assumption("Are as many unit-days missing in each arm?", "gap"),
    "surprising-zeros": Assumption("Do units that sell for certain sell in each arm?", "gap"),
    "late-sales": Assumption("Do sales of each arm arrive in time?", "gap"),
    "corrected-unit-days": Assumption("Are closed days counted anew as often in each arm?", "gap"),
    "pieces-per-sale": Assumption("As many pieces in a sale as before, in each arm?", "gap"),
    "revenue-per-piece": Assumption("Was what the arm's price asks paid for a piece?", "gap"),
    "stock-outs": Assumption("Sold out as often in each arm?", "gap"),
    "rivals-price-staleness": Assumption("Are rivals' prices as fresh in each arm?", "hours"),
    "trigger-rates": Assumption("Do triggers fire as often in each arm?", "gap"),
    "interference": Assumption("Are neighbours in the same arm?", "gap"),
    "concentration": Assumption("Does one cluster carry the number?", "gap"),
}
#: verdict -> what the legend says, its shape and colour; the worst first
VERDICTS: dict[str, tuple[str, str, str]] = {
    "fail": ("fails: do not rely on the number", "cross", VERMILLION),
    "warn": ("warns: read the number with care", "triangle-up", ORANGE),
    "pass": ("holds", "circle", BLUE),
    "unknown": ("not measurable yet", "diamond", "#9aa0a6"),
}
#: as far right as a mark is drawn, in multiples of the line; where the text begins and ends
FARTHEST, TEXT_FROM, TEXT_TO = 2.0, 2.16, 3.0
FORMATS: dict[str, str] = {
    "p": "p = {0:.2g}; line {1:.2g}",
    "share": "{2:.1f} %; line {3:.1f} %",
    "gap": "{2:.1f} %; line {3:.1f} %",
    "seconds": "{0:.3g} s; line {1:.3g} s",
    "hours": "{0:.2g} h; line {1:.2g} h",
    "sd": "{0:.2f} sd; line {1:.2f} sd",
}
ANY_UNIT = "{0:.3g}; line {1:.3g}"


def standing_checks(health: pa.Table) -> Rows:
    """The latest word on each check: the worst verdict first, and within it the nearest to its line."""
    rows = sorted(health.to_pylist(), key=lambda r: (r["version"], r["day"], r["revision"]))
    latest = {r["check"]: r for r in rows}
    order = list(VERDICTS)
    return sorted(latest.values(), key=lambda r: (order.index(r["verdict"]), -way_to_the_line(r), r["check"]))


def checks_chart(health: pa.Table, width: Width = 1100, *, titled: bool = True) -> Any:
    """Each check as a mark on the way to its line; raises ValueError where no check was published."""
    checks = standing_checks(health)
    if not checks:
        raise ValueError("no check was published yet: they come with the first closed day")
    rows = [
        {
            "check": r["check"],
            "way": way_to_the_line(r),
            "verdict": VERDICTS[r["verdict"]][0],
            "said": said(r),
            "asks": asks(r["check"]),
            "evidence": r["evidence"],
            "to do": r["what_to_do"],
        }
        for r in checks
    ]
    verdicts = [v for v in VERDICTS if any(r["verdict"] == v for r in checks)]
    domain = [VERDICTS[v][0] for v in verdicts]
    shapes, colours = [VERDICTS[v][1] for v in verdicts], [VERDICTS[v][2] for v in verdicts]
    reach = alt.Scale(domain=[0, TEXT_TO], nice=False)
    x = alt.X(
        "way:Q",
        title="← holds · way to the line · broken →",
        scale=reach,
        axis=alt.Axis(
            values=[0, 0.5, 1, 1.5, 2],
            labelExpr="datum.value == 1 ? 'the line' : datum.value == 2 ? '200 % +' : (100 * datum.value) + ' %'",
            grid=False,
            domain=False,
            titleAnchor="start",
        ),
    )
    axis = alt.Axis(ticks=False, domain=False, labelPadding=10, labelLimit=220, grid=False)
    y = alt.Y("check:N", title=None, sort=[r["check"] for r in rows], axis=axis)
    base = alt.Chart(data(rows))
    ends = alt.Chart(data([{"line": 1.0, "end": FARTHEST + 0.08}]))
    beyond = ends.mark_rect(color=FAINT, opacity=0.75).encode(x=alt.X("line:Q", scale=reach), x2="end:Q")
    line = ends.mark_rule(color=INK, strokeWidth=1.5).encode(x=alt.X("line:Q", scale=reach))
    stems = (
        base.transform_calculate(zero="0")
        .mark_rule(color="#9aa0a6", strokeWidth=1.5)
        .encode(x=alt.X("zero:Q", scale=reach), x2="way:Q", y=y)
    )
    marks = base.mark_point(filled=True, opacity=1, size=150).encode(
        x=x,
        y=y,
        shape=alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=domain, range=shapes)),
        color=alt.Color("verdict:N", title=None, scale=alt.Scale(domain=domain, range=colours)),
        tooltip=[alt.Tooltip(f"{name}:N") for name in ("check", "asks", "said", "evidence", "to do")],
    )
    # Where there is no room for it, the table below the picture has it.
    room = alt.ExprRef("width < 440 ? 0 : 1")
    text = base.mark_text(align="left", fontSize=12, color=INK, opacity=room).encode(
        x=alt.datum(TEXT_FROM), y=y, text="said:N"
    )
    heading = (title(checks), subtitle(checks)) if titled else None
    return styled(alt.layer(beyond, stems, line, marks, text), heading, width, 30 * len(rows))


def asks(check: str) -> str:
    """The question behind a check; its name where there is none."""
    return ASSUMPTIONS[check].asks if check in ASSUMPTIONS else check


def way_to_the_line(check: dict[str, Any]) -> float:
    """0 at the best that there is, 1 where the assumption counts as broken; no farther than FARTHEST."""
    value, line = check["value"], check["threshold"]
    if value is None:
        return 0.0
    kind = ASSUMPTIONS[check["check"]].kind if check["check"] in ASSUMPTIONS else "gap"
    if kind == "p":
        part, whole = line, value
    elif kind == "share":
        part, whole = 1 - value, 1 - line
    else:
        part, whole = value, line
    if whole <= 0:
        return FARTHEST if part > 0 else 0.0
    return float(min(max(part / whole, 0.0), FARTHEST))


def said(check: dict[str, Any]) -> str:
    """Value and line, each with its unit."""
    value, line = check["value"], check["threshold"]
    if value is None:
        return "not measured yet"
    form = FORMATS[ASSUMPTIONS[check["check"]].kind] if check["check"] in ASSUMPTIONS else ANY_UNIT
    return form.format(value, line, 100 * value, 100 * line)


def title(checks: Rows) -> str:
    """What the checks say together."""
    by = {v: [c["check"] for c in checks if c["verdict"] == v] for v in VERDICTS}
    if by["fail"]:
        return f"Do not rely on these numbers yet. Broken: {', '.join(by['fail'])}"
    if by["warn"]:
        return f"Read these numbers with care. Doubtful: {', '.join(by['warn'])}"
    if not by["pass"]:
        return "No assumption could be checked yet"
    return f"{counted(len(by['pass']), 'assumption')} checked, and {'it holds' if len(by['pass']) == 1 else 'all hold'}"


def subtitle(checks: Rows) -> list[str]:
    """How many, of what day, and how many not."""
    unknown = sum(c["verdict"] == "unknown" for c in checks)
    tail = f" {unknown} cannot be measured yet." if unknown else ""
    return [f"{counted(len(checks), 'check')} as of {max(c['day'] for c in checks)}.{tail}"]
