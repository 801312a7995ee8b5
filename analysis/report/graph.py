"""The graph of substitutes as a picture: clusters and arms of an experiment, and what clusters of each size cut."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from analysis.report.style import INK, QUIET, VERMILLION, Width, data, styled
from controller.definition.weight_cut import Pair

#: a picture of more is a blot
MOST_PRODUCTS = 400
#: told apart by their place too: colours repeat
CLUSTER_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7a3b00", "#5e4fa2", "#66a61e", "#666666",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def places(clusters: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Where each product is drawn: clusters on a spiral, the largest in the middle, their products on a ring each."""
    found: dict[str, tuple[float, float]] = {}
    ordered = sorted(clusters.items(), key=lambda one: (-len(one[1]), one[0]))
    largest = max((len(members) for _, members in ordered), default=1)
    step = 2 * _radius(largest) + 1.5
    for number, (_, members) in enumerate(ordered):
        # A sunflower's spiral: equal room for every cluster (Vogel 1979, Mathematical Biosciences 44).
        angle, away = number * math.pi * (3 - math.sqrt(5)), 0.95 * step * math.sqrt(number)
        x, y = away * math.cos(angle), away * math.sin(angle)
        for k, member in enumerate(sorted(members)):
            turn = 2 * math.pi * k / len(members)
            found[member] = (x + _radius(len(members)) * math.cos(turn), y + _radius(len(members)) * math.sin(turn))
    return found


def graph_chart(
    version: str,
    pairs: Iterable[Pair],
    clusters: Mapping[str, Sequence[str]],
    arms: Mapping[str, str],
    order: Sequence[str],
    day: str,
    width: Width = 760,
) -> Any:
    """Products coloured by cluster, shaped by the arm of a day; lines between substitutes, red where they are cut.

    Args:
        clusters: name -> products of one market.
        arms: product -> its arm on the day.
        order: of the arms, control first.

    Raises:
        ValueError: there are more than 400 products, or none.
    """
    at = places(clusters)
    if not 0 < len(at) <= MOST_PRODUCTS:
        raise ValueError(f"{len(at)} products: from 1 to {MOST_PRODUCTS} can be drawn; draw fewer units")
    of = {product: name for name, members in clusters.items() for product in members}
    nodes = [
        {"product": product, "cluster": of[product], "arm": arms[product], "x": x, "y": y}
        for product, (x, y) in at.items()
    ]
    shown = [(one, two, weight) for one, two, weight in pairs if weight > 0 and one in at and two in at]
    apart = [of[one] != of[two] for one, two, _ in shown]
    lines = [
        {
            "pair": f"{one} and {two}", "weight": weight, "line": "leaves its cluster" if cut else "within",
            "x": at[one][0], "y": at[one][1], "x2": at[two][0], "y2": at[two][1],
        }
        for (one, two, weight), cut in zip(shown, apart, strict=True)
    ]  # fmt: skip
    bare: dict[str, Any] = {"axis": None, "scale": alt.Scale(zero=False, nice=False, padding=14)}
    x, y = alt.X("x:Q", **bare), alt.Y("y:Q", **bare)
    names = list(order)
    points = alt.Chart(data(nodes)).mark_point(filled=True, size=90, opacity=1, stroke=INK, strokeWidth=0.6)
    drawn = points.encode(
        x=x, y=y,
        color=alt.Color("cluster:N", legend=None, scale=alt.Scale(range=list(CLUSTER_COLOURS))),
        shape=alt.Shape("arm:N", title=f"arm on {day}", sort=names, scale=alt.Scale(domain=names, range=list(SHAPES))),
        tooltip=["product:N", "cluster:N", "arm:N"],
    )  # fmt: skip
    whole = sum(weight for _, _, weight in shown)
    cut_weight = sum(weight for (_, _, weight), cut in zip(shown, apart, strict=True) if cut)
    share = f"{cut_weight / whole:.1%} of the weight leaves its cluster" if shown else "no substitutes"
    heading = (f"graph {version}: {len(clusters)} clusters, {len(at)} products", [share])
    if not lines:
        return styled(drawn, heading, width, 620)
    segments = alt.Chart(data(lines)).mark_rule(opacity=0.7).encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q",
        strokeWidth=alt.StrokeWidth("weight:Q", legend=None, scale=alt.Scale(range=[0.5, 3])),
        color=alt.Color("line:N", title="substitutes",
                        scale=alt.Scale(domain=["within", "leaves its cluster"], range=["#b5bcc2", VERMILLION])),
        tooltip=["pair:N", "weight:Q"],
    )  # fmt: skip
    together = alt.layer(segments, drawn).resolve_scale(color="independent")
    return styled(together, heading, width, 620)


def cut_chart(cuts: Sequence[Mapping[str, float]], chosen: int, version: str, width: Width = 640) -> Any:
    """Share of cut weight against the largest size of a cluster.

    Args:
        cuts: of each size `max_size`, `clusters` and `cut`.
        chosen: the size that was asked for.
    """
    rows = [{"size": one["max_size"], "cut": one["cut"], "said": f"{int(one['clusters']):,} clusters"} for one in cuts]
    x = alt.X("size:Q", title="products of a cluster, at most", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("cut:Q", title="weight that leaves its cluster", axis=alt.Axis(format="%"), scale=alt.Scale(zero=True))
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    line = base.mark_line(color=QUIET, point=alt.OverlayMarkDef(filled=True, size=70, color=INK))
    words = base.mark_text(dy=-12, color=INK).encode(text="said:N")
    asked = alt.Chart(data([{"size": chosen}])).mark_rule(color=VERMILLION, strokeDash=[4, 3]).encode(x="size:Q")
    heading = (f"graph {version}: what clusters of each size cut", [f"dashed: at most {chosen} products"])
    return styled(alt.layer(asked, line, words), heading, width, 320)


def _radius(members: int) -> float:
    return 0.0 if members == 1 else max(0.5, members / 6)
