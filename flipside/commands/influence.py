"""``flipside influence``: which units, clusters and days carry an estimate, and without which its sign would turn."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flipside.commands.estimate import (
    AsJson,
    ClusterColumn,
    DropIncomplete,
    LeaveOutColumn,
    OutcomeColumn,
    PanelFile,
    Sort,
    TimeColumn,
    TreatmentColumn,
    UnitColumn,
)

if TYPE_CHECKING:
    from analysis.responses.panel_influence import PanelInfluence


def influence(
    panel: PanelFile,
    unit: UnitColumn = "unit",
    time: TimeColumn = "time",
    outcome: OutcomeColumn = "outcome",
    treatment: TreatmentColumn = "treatment",
    method: Annotated[
        Literal["means", "cluster-day", "did", "sc", "sdid"],
        typer.Option(
            "--method",
            help="cluster-day: the estimate of randomised designs. means: difference in means. did, sc, sdid: as in "
            "`flipside estimate`.",
        ),
    ] = "sdid",
    cluster: ClusterColumn = None,
    block_days: Annotated[
        int,
        typer.Option(
            "--block-days", min=0, help="Of cluster-day: days that share a draw; 0 where one draw decided all."
        ),
    ] = 1,
    leave_out: LeaveOutColumn = None,
    sort: Sort = False,
    drop_incomplete: DropIncomplete = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="A bar for each; .svg, .png or .html.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Which units, clusters and days move an estimate, each by how much, and which of them its sign rests on.

    A move is the effect less the effect without the one: above zero, it raises the effect. Exact for means, cluster-day
    and did; for sc and sdid the weights move too, and how far that may be off is printed.

    Example: flipside influence prop99.csv --outcome packs_per_capita --treatment treated --method sc
    """
    from analysis.responses.panel_influence import panel_influence
    from controller.errors import FlipsideError
    from flipside.commands.estimate import load
    from flipside.commands.panel_output import fail
    from flipside.terminal.influence_output import influence_tables

    try:
        loaded, notes = load(
            panel,
            drop_incomplete,
            unit=unit,
            time=time,
            outcome=outcome,
            treatment=treatment,
            covariates=(),
            cluster=cluster,
            leave_out=leave_out,
            sort=sort,
        )
        found = panel_influence(loaded, method, block_days)
    except FlipsideError as error:
        fail(str(error))
    if picture is not None:
        draw(found, outcome, picture)
    if json:
        shown = found.as_json()
        print(json_format.dumps({**shown, "notes": [*notes, *shown["notes"]]}, allow_nan=False))
    else:
        influence_tables(found, outcome, notes)


def draw(found: "PanelInfluence", outcome: str, picture: Path) -> None:
    """Write the bars; the ending of the name says as what."""
    from analysis.report.influence import influence_chart
    from analysis.report.picture import save

    save(influence_chart(found, outcome), picture)
