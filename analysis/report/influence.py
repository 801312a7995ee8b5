"""A bar for each cluster: how far it moves the number."""

from typing import Any

import altair as alt

from analysis.report.style import BLUE, INK, QUIET, VERMILLION, Width, data, number, styled
from analysis.responses.panel_influence import PanelInfluence

#: the rest moves less
MOST_BARS = 30


def influence_chart(found: PanelInfluence, outcome: str, width: Width = 560) -> Any:
    """Bars from the effect without each to the effect with it; a line at zero where one of them crosses it."""
    effect = found.influence.effect
    what = "cluster" if found.clustered else "unit"
    rows = [
        {what: name, "without it": effect - move, "effect": effect, "turns": (effect - move) * effect < 0}
        for name, move in found.largest_clusters(MOST_BARS)
    ]
    base = alt.Chart(data([{**row, "turns": "yes" if row["turns"] else "no"} for row in rows]))
    order = [str(row[what]) for row in rows]
    bars = base.mark_bar(height=12).encode(
        x=alt.X("without it:Q", title=f"effect on {outcome} without the {what}", scale=alt.Scale(zero=False)),
        x2=alt.X2("effect:Q"),
        y=alt.Y(f"{what}:N", sort=order, title=None),
        color=alt.Color(
            "turns:N",
            scale=alt.Scale(domain=["no", "yes"], range=[BLUE, VERMILLION]),
            title="without it the sign turns",
        ),
        tooltip=[alt.Tooltip(f"{what}:N"), alt.Tooltip("without it:Q", format=".4g")],
    )
    at = [alt.Chart(data([{"x": effect}])).mark_rule(color=INK).encode(x="x:Q")]
    if any(row["turns"] for row in rows):
        at.append(alt.Chart(data([{"x": 0.0}])).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x="x:Q"))
    turning = found.influence.turning
    said = (
        f"without {', '.join(turning)} its sign would turn"
        if turning is not None
        else f"no small set of {what}s turns its sign"
    )
    heading = (f"Effect {number(effect)}: {said}", [f"Each bar runs from the effect without the {what} to the effect."])
    return styled(alt.layer(bars, *at), heading, width, max(18 * len(rows), 60))
