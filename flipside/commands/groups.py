"""``flipside groups``: which groups of units respond differently, found on one half and tested on the other."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

import typer

from flipside.commands.estimate import (
    AsJson,
    ClusterColumn,
    LeaveOutColumn,
    Level,
    OutcomeColumn,
    PanelFile,
    Seed,
    Sort,
    TimeColumn,
    TreatmentColumn,
    UnitColumn,
)


def groups(
    panel: PanelFile,
    attributes: Annotated[
        Path,
        typer.Option(
            "--attributes", metavar="FILE", help="A row a unit: CSV, Parquet, or a catalog of JSON lines (.jsonl)."
        ),
    ],
    unit: UnitColumn = "unit",
    time: TimeColumn = "time",
    outcome: OutcomeColumn = "outcome",
    treatment: TreatmentColumn = "treatment",
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="COLUMN", help="Only these; may be repeated.")
    ] = None,
    measured: Annotated[
        str | None,
        typer.Option("--measured", metavar="COLUMN", help="Of the day an attribute was measured: before the start."),
    ] = None,
    direction: Annotated[
        Literal["any", "lowest", "highest"],
        typer.Option("--direction", help="lowest: only groups below the rest, where a price hurts most."),
    ] = "any",
    depth: Annotated[int, typer.Option("--depth", min=1, max=3, help="Attributes that a group joins at most.")] = 3,
    rate: Annotated[
        float, typer.Option("--rate", min=0.001, max=0.5, help="Of false discoveries among named groups.")
    ] = 0.05,
    cluster: ClusterColumn = None,
    leave_out: LeaveOutColumn = None,
    sort: Sort = False,
    level: Level = 0.95,
    seed: Seed = 0,
    strata: Annotated[
        str | None,
        typer.Option("--strata", metavar="GROUP", help="Also print a named group as balance.strata of a definition."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Effects by group; .svg, .png or .html.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Which groups of units respond differently: conjunctions of up to three attributes.

    Groups are found on one half of the clusters; their effects and intervals come from the other half. How many groups
    were looked at is printed. An effect is in units of the outcome: give logarithms for relative ones.

    Example: flipside groups panel.csv --attributes products.csv --direction lowest
    """
    import numpy as np

    from analysis.panel_data.attribute_table import read_attributes
    from analysis.panel_data.panel_files import read_panel
    from analysis.responses.panel_groups import panel_groups
    from controller.errors import FlipsideError
    from flipside.commands.panel_output import fail
    from flipside.terminal.groups_output import groups_tables

    try:
        loaded = read_panel(
            panel, unit=unit, time=time, outcome=outcome, treatment=treatment, covariates=(), cluster=cluster,
            leave_out=leave_out, sort=sort,
        )  # fmt: skip
        found = panel_groups(
            loaded,
            read_attributes(attributes, unit),
            rng=np.random.default_rng(seed),
            only=attribute or (),
            measured=measured,
            direction=direction,
            depth=depth,
            rate=rate,
            level=level,
        )
        strata_found = None if strata is None else found.strata(strata)
    except FlipsideError as error:
        fail(str(error))
    if picture is not None:
        from analysis.report.groups import groups_chart
        from analysis.report.picture import save

        save(groups_chart(found.found, outcome), picture)
    if json:
        shown = found.as_json()
        print(json_format.dumps(shown if strata is None else {**shown, "strata": strata_found}, allow_nan=False))
        return
    groups_tables(found, outcome, level)
    if strata_found is not None:
        import yaml

        print(yaml.safe_dump({"balance": {"strata": strata_found}}, sort_keys=False), end="")
