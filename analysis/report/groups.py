"""Effects by group with their intervals, beside the average."""

from typing import Any

import altair as alt

from analysis.heterogeneity.groups import Groups
from analysis.report.style import BLUE, INK, QUIET, Width, data, number, styled


def groups_chart(found: Groups, outcome: str, width: Width = 560) -> Any:
    """A point and an interval for each group that was tested; the average as a line with its band."""
    rows = [
        {"group": one.name, "effect": one.effect, "low": one.low, "high": one.high,
         "differs": "yes" if one.named else "not shown"}
        for one in found.groups
    ]  # fmt: skip
    band = alt.Chart(data([{"low": found.effect_low, "high": found.effect_high, "effect": found.effect}]))
    layers: list[Any] = [
        band.mark_rect(color=QUIET, opacity=0.15).encode(x="low:Q", x2="high:Q"),
        band.mark_rule(color=INK).encode(x="effect:Q"),
    ]
    if rows:
        base = alt.Chart(data(rows)).encode(
            y=alt.Y("group:N", sort=[str(row["group"]) for row in rows], title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color(
                "differs:N", scale=alt.Scale(domain=["yes", "not shown"], range=[BLUE, QUIET]), title="differs"
            ),
        )
        layers += [
            base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title=f"effect on {outcome}"), x2="high:Q"),
            base.mark_point(filled=True, size=90).encode(x="effect:Q"),
        ]
    named = len(found.named)
    said = (
        f"{named} group{'s' if named != 1 else ''} differ{'s' if named == 1 else ''}" if named else "No group differs"
    )
    looked = sum(one.conjunctions for one in found.looked)
    heading = (
        f"{said}; average {number(found.effect)}",
        [f"{looked:,} groups were looked at on one half; effects and intervals are those of the other half."],
    )
    return styled(alt.layer(*layers), heading, width, max(34 * len(rows), 60))
