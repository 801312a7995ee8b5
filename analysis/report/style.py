"""How the pictures look: colours that survive colour blindness and grey print, type that can be read on a phone.

Colours are those of Okabe and Ito (Color Universal Design, 2008); whatever a colour says, a shape, a dash or a shade of
grey says as well.
"""

import csv
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import altair as alt

from analysis.export.formatting import counted as counted
from analysis.export.formatting import number as number
from analysis.export.formatting import percent as percent

BLUE, VERMILLION, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
INK, QUIET, FAINT, PAPER = "#1a1a1a", "#5c5c5c", "#e4e7ea", "#ffffff"
#: control first: light in print, the others darker, and each of another darkness
ARMS = ("#cfd8df", BLUE, ORANGE, "#7a3b00", PURPLE, GREEN, "#000000", SKY)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

Rows = list[dict[str, Any]]
Width = int | str


def data(rows: Rows, *dates: str) -> alt.InlineData:
    """Rows as a chart's data: as text, because Altair looks at every single value of a list, which takes seconds.

    ``dates``: columns that hold a day or an instant in UTC. Numbers are told by their type; the rest stays words.
    """
    columns = list(rows[0]) if rows else []
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    numbers = {c for row in rows for c, value in row.items() if isinstance(value, int | float)}
    parse = {c: "date" if c in dates else "number" if c in numbers else "string" for c in columns}
    return alt.InlineData(values=text.getvalue(), format=alt.CsvDataFormat(type="csv", parse=parse))


def styled(chart: Any, heading: tuple[str, list[str]] | None, width: Width, height: int) -> Any:
    """A chart on white, in the house's type, with the finding as its title; None where the page itself says it."""
    if heading is not None:
        chart = chart.properties(title=alt.TitleParams(heading[0], subtitle=heading[1]))
    fit: Any = "fit-x" if width == "container" else "pad"
    # In one call: each copies the chart with all that is in it.
    return chart.properties(
        width=width,
        height=height,
        background=PAPER,
        padding=8,
        autosize=alt.AutoSizeParams(type=fit, contains="padding"),
        config=alt.Config(
            font=FONT,
            title=alt.TitleConfig(
                anchor="start",
                fontSize=17,
                fontWeight=600,
                color=INK,
                subtitleColor=QUIET,
                subtitleFontSize=13,
                subtitlePadding=5,
                offset=14,
                frame="group",
            ),
            axis=alt.AxisConfig(
                labelFontSize=12,
                titleFontSize=12,
                titleFontWeight=500,
                labelColor=INK,
                titleColor=QUIET,
                gridColor=FAINT,
                domainColor="#9aa0a6",
                tickColor="#9aa0a6",
                titlePadding=8,
            ),
            legend=alt.LegendConfig(
                orient="bottom",
                direction="horizontal",
                labelFontSize=12,
                titleFontSize=12,
                titleFontWeight=500,
                labelColor=INK,
                titleColor=QUIET,
                columns=alt.ExprRef("width < 560 ? 1 : 4"),
                labelLimit=420,
                symbolSize=140,
                columnPadding=18,
            ),
            view=alt.ViewConfig(stroke=None),
        ),
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of escaped cells that scrolls where it is too wide; without a head where that is empty."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    thead = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f'<div class="scroll"><table class="{kind}">{thead}<tbody>{body}</tbody></table></div>'
