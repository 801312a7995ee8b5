"""``flipside hpte``: who responds to a treatment that a coin decided."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

if TYPE_CHECKING:
    from analysis.heterogeneity.hpte_result import Hpte

Noise = Literal["auto", "refits", "scores"]
Forecaster = Literal["auto", "shrunk", "boosted"]


def hpte(
    panel: PanelFile,
    attributes: Annotated[
        Path,
        typer.Option(
            "--attributes",
            metavar="FILE",
            help="A row a unit, from before the start: CSV, Parquet, or a catalog (.jsonl); `measured_at` is checked.",
        ),
    ],
    unit: UnitColumn = "unit",
    time: TimeColumn = "time",
    outcome: OutcomeColumn = "outcome",
    treatment: TreatmentColumn = "treatment",
    cluster: ClusterColumn = None,
    category: Annotated[
        str | None,
        typer.Option("--category", metavar="ATTRIBUTE", help="Forecasts are shrunk to its means; else `category`."),
    ] = None,
    leave_out: LeaveOutColumn = None,
    washout: Annotated[int, typer.Option("--washout", min=0, help="Periods after each change to skip.")] = 0,
    sort: Sort = False,
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Leave out units without all attributes, and say how many.")
    ] = False,
    forecaster: Annotated[
        Forecaster, typer.Option("--forecaster", help="auto: the better one on held-out periods before the start.")
    ] = "auto",
    noise: Annotated[
        Noise,
        typer.Option("--noise", help="refits: all is refitted on clusters drawn again. scores: only the average."),
    ] = "auto",
    draws: Annotated[int, typer.Option("--draws", min=200, help="Of the bootstrap.")] = 200,
    level: Level = 0.95,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Write levels, units and importance as SVG files to DIR."),
    ] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Estimate who responds: effects by unit, by level of each attribute, and their average.

    Each unit's outcomes from the start on, less its forecast, are compared between arms among units that are alike. The
    treatment must have been drawn by chance. Numbers are fixed-horizon: look once, at the end.

    Example: flipside hpte sales.csv --attributes products.csv --washout 1
    """
    from analysis.heterogeneity.unit_effects import hpte as compute
    from analysis.panel_data.attribute_table import read_attributes
    from controller.errors import FlipsideError
    from flipside.commands.panel_output import fail, progress_bar

    try:
        with progress_bar("draws", draws) as (_, bar):
            found = compute(
                _frame(panel),
                read_attributes(attributes, unit),
                unit=unit,
                time=time,
                outcome=outcome,
                treatment=treatment,
                cluster=cluster,
                category=category,
                leave_out=leave_out,
                sort=sort,
                drop_incomplete=drop_incomplete,
                washout=washout,
                forecaster=forecaster,
                noise=noise,
                level=level,
                draws=draws,
                seed=seed,
                progress=lambda done, _: bar.update(bar.task_ids[0], completed=done),
            )
    except FlipsideError as error:
        fail(str(error))
    if pictures is not None:
        from analysis.report.heterogeneity import save_pictures

        for path in save_pictures(found, outcome, pictures):
            typer.echo(str(path), err=True)
    if json:
        print(json_format.dumps(found.as_json(), allow_nan=False))
    else:
        _shown(found, outcome)


def _frame(path: Path) -> Any:
    import pandas as pd

    from controller.errors import InvalidPanel

    if not path.is_file():
        raise InvalidPanel(f"{path} is not a file: give a CSV (.csv) or Parquet (.parquet) file")
    try:
        return pd.read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise InvalidPanel(f"{path} cannot be read as {path.suffix or 'CSV'}: {error}") from error


def _shown(found: "Hpte", outcome: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from flipside.terminal.escape import cell, say

    average, check = found.average.line, found.average.cross_check

    say(
        f"{found.design}, fixed-horizon: the effect on {outcome} is {average.value:.4g} on average, "
        f"{found.level:.0%} interval {average.low:.4g} to {average.high:.4g} "
        f"({found.average.noise}, {found.average.clusters} clusters)"
    )
    say(f"cross-check by doubly robust scores: {check.value:.4g}, {check.low:.4g} to {check.high:.4g}")
    say(
        f"{len(found.units)} units, {found.not_comparable:.1%} of them not comparable; trimmed: "
        f"{found.trimmed_treated} treated, {found.trimmed_control} control; "
        f"forecast by {found.forecaster}, effects centred by {found.centring}"
    )
    if found.levels:
        table = Table(title="Effect by level")
        for name in ("attribute", "level", "units", "effect", f"{found.level:.0%} interval"):
            table.add_column(name, justify="left" if name in ("attribute", "level") else "right")
        for one in found.levels:
            pair = f"{one.low:.4g} to {one.high:.4g}"
            table.add_row(cell(one.attribute), cell(one.level), str(one.units), f"{one.effect:.4g}", pair)
        Console(soft_wrap=True).print(table)
    say("importance: " + ", ".join(f"{name} {share:.0%}" for name, share in found.importance))
    if found.calibration is not None:
        verdict = found.calibration
        say(f"do effects differ? p = {verdict.p:.3g} (spread {verdict.spread:.2f}, error {verdict.spread_error:.2f})")
        if verdict.why_not is not None:
            say(f"do not read the units' intervals as 95 %: {verdict.why_not}")
    for sentence in found.notes:
        say(f"note: {sentence}")
