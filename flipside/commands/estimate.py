"""``flipside estimate``: the effect of a treatment on a panel, by one method or all, with how sure it is."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from analysis.observational.panel_estimate import PanelEstimate
    from analysis.panel_data.panel import Panel

Method = Literal["sdid", "sc", "did", "difp", "mc", "twfe", "trop", "trop-block", "homogeneous-effect", "all"]
SeKind = Literal["auto", "placebo", "jackknife", "bootstrap", "conditional"]

PanelFile = Annotated[
    Path, typer.Argument(metavar="PANEL", help="CSV or Parquet, one row for each unit and period, in time order.")
]
UnitColumn = Annotated[str, typer.Option("--unit", metavar="COLUMN", help="Column that names the unit.")]
TimeColumn = Annotated[
    str, typer.Option("--time", metavar="COLUMN", help="Column of the period: a number, a date, or sortable text.")
]
OutcomeColumn = Annotated[
    str, typer.Option("--outcome", metavar="COLUMN", help="Column of the outcome; empty where missing.")
]
TreatmentColumn = Annotated[
    str, typer.Option("--treatment", metavar="COLUMN", help="Column of 0 and 1: is this unit treated in this period?")
]
CovariateColumns = Annotated[
    list[str] | None,
    typer.Option("--covariate", metavar="COLUMN", help="Time-varying covariate to adjust for; may be repeated."),
]
ClusterColumn = Annotated[
    str | None, typer.Option("--cluster", metavar="COLUMN", help="Column of clusters, for jackknife and bootstrap.")
]
LeaveOutColumn = Annotated[
    str | None,
    typer.Option(
        "--leave-out", metavar="COLUMN", help="Column of reasons (washout, blackout): such cells are not used."
    ),
]
Sort = Annotated[bool, typer.Option("--sort", help="Accept rows that are not in time order.")]
DropIncomplete = Annotated[
    bool, typer.Option("--drop-incomplete", help="Leave out units with missing cells, and print how many.")
]
Level = Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of the confidence intervals.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of whatever is drawn: the same seed gives the same numbers.")]
Jobs = Annotated[int, typer.Option("--jobs", help="Processes for refits; -1 for all cores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, the last line of the output.")]


def estimate(
    panel: PanelFile,
    unit: UnitColumn = "unit",
    time: TimeColumn = "time",
    outcome: OutcomeColumn = "outcome",
    treatment: TreatmentColumn = "treatment",
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="sdid: synthetic difference in differences. sc: synthetic control. did: difference in differences. "
            "difp: demeaned synthetic control. mc: matrix completion. twfe: two-way fixed effects by imputation. "
            "trop: doubly weighted, one fit for each treated cell; trop-block: one fit for all of them; "
            "homogeneous-effect: its joint form, only where the effect is the same everywhere. "
            "all: the seven that let effects differ.",
        ),
    ] = "sdid",
    se: Annotated[
        SeKind,
        typer.Option(
            "--se",
            help="placebo: move the treatment to controls. jackknife, bootstrap: two treated units at least. "
            "conditional: by unit, period, and both. auto: placebo where controls allow, else jackknife.",
        ),
    ] = "auto",
    covariate: CovariateColumns = None,
    cluster: ClusterColumn = None,
    leave_out: LeaveOutColumn = None,
    sort: Sort = False,
    drop_incomplete: DropIncomplete = False,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics", help="Also show weights, pre-period fit, influence and placebos.")
    ] = False,
    level: Level = 0.95,
    draws: Annotated[int, typer.Option("--draws", min=20, help="Placebos or resamples at most.")] = 500,
    seed: Seed = 0,
    jobs: Jobs = 1,
    json: AsJson = False,
) -> None:
    """Estimate the effect of a treatment that was not randomised.

    The effect is the mean over the treated cells of outcome less what it would have been untreated, in units of the
    outcome. Such estimates are observational: they assume that the controls continue as before.

    Example: flipside estimate prop99.csv --outcome packs_per_capita --treatment treated --method all
    """
    import numpy as np

    from analysis.observational.estimators.by_name import METHODS
    from analysis.observational.panel_estimate import estimate_all
    from controller.errors import FlipsideError
    from flipside.commands.panel_output import diagnostics_tables, estimates_table, fail, progress_bar

    try:
        loaded, notes = load(
            panel,
            drop_incomplete,
            unit=unit,
            time=time,
            outcome=outcome,
            treatment=treatment,
            covariates=tuple(covariate or ()),
            cluster=cluster,
            leave_out=leave_out,
            sort=sort,
        )
        methods = METHODS if method == "all" else (method,)
        with progress_bar("refits") as (progress, _):
            answers = estimate_all(
                loaded,
                methods,
                se,
                rng=np.random.default_rng(seed),
                level=level,
                draws=draws,
                jobs=jobs,
                progress=progress,
            )
    except FlipsideError as error:
        fail(str(error))
    if json:
        print(json_format.dumps([_with_notes(answer, notes) for answer in answers], allow_nan=False))
    else:
        estimates_table(answers, notes, outcome, level)
        if diagnostics:
            diagnostics_tables(answers)
    if all(answer.effect is None for answer in answers):
        fail("no method could give an estimate: " + "; ".join(f"{a.method}: {a.warnings[0]}" for a in answers))


def load(path: Path, drop_incomplete: bool, **columns: object) -> "tuple[Panel, tuple[str, ...]]":
    """Read a panel; with ``drop_incomplete`` without its incomplete units, and a sentence that says how many."""
    import numpy as np

    from analysis.observational.cohorts import complete_units
    from analysis.observational.inference.placebo import controls_only
    from analysis.panel_data.panel_files import read_panel

    panel = read_panel(path, **columns)  # type: ignore[arg-type]
    if not drop_incomplete:
        return panel, ()
    complete = complete_units(panel)
    dropped = int((~complete).sum())
    notes = (f"{dropped} unit(s) with missing cells were left out",) if dropped else ()
    return controls_only(panel, np.flatnonzero(complete)), notes


def _with_notes(answer: "PanelEstimate", notes: tuple[str, ...]) -> dict[str, object]:
    found = answer.as_json()
    return {**found, "warnings": [*notes, *found["warnings"]]}
