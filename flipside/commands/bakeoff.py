"""``flipside bakeoff``: which estimator would have been right on this very panel?"""

import json as json_format
from typing import Annotated

import typer

from flipside.commands.estimate import (
    AsJson,
    ClusterColumn,
    CovariateColumns,
    DropIncomplete,
    LeaveOutColumn,
    Level,
    OutcomeColumn,
    PanelFile,
    Seed,
    Sort,
    TimeColumn,
    TreatmentColumn,
    UnitColumn,
    load,
)


def bakeoff(
    panel: PanelFile,
    unit: UnitColumn = "unit",
    time: TimeColumn = "time",
    outcome: OutcomeColumn = "outcome",
    treatment: TreatmentColumn = "treatment",
    covariate: CovariateColumns = None,
    cluster: ClusterColumn = None,
    leave_out: LeaveOutColumn = None,
    sort: Sort = False,
    drop_incomplete: DropIncomplete = False,
    placebos: Annotated[int, typer.Option("--placebos", min=20, help="Placebo blocks to hide.")] = 200,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Only this method; may be repeated. Default: all that `estimate` calls all."),
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    jobs: Annotated[int, typer.Option("--jobs", help="Processes; -1 for all cores.")] = -1,
    json: AsJson = False,
) -> None:
    """Rank all estimators and standard errors on placebo blocks of your own panel.

    Blocks that look like the real one (as many units, as long, chosen as the treated seem to have been) are hidden
    among the never-treated units, where the effect is known to be zero. Methods are ranked by root mean square error,
    with bias, coverage and width of their intervals, and Monte-Carlo errors; the last line recommends one.

    Example: flipside bakeoff prop99.csv --outcome packs_per_capita --treatment treated
    """
    import numpy as np

    from analysis.observational.bakeoff import bakeoff as run
    from analysis.observational.estimators.by_name import METHODS
    from controller.errors import FlipsideError
    from flipside.commands.panel_output import bakeoff_table, fail, progress_bar

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
        with progress_bar("placebos", placebos) as (progress, _):
            report = run(
                loaded,
                rng=np.random.default_rng(seed),
                methods=tuple(method or METHODS),
                n_placebos=placebos,
                level=level,
                jobs=jobs,
                progress=progress,
            )
    except FlipsideError as error:
        fail(str(error))
    if json:
        print(json_format.dumps({**report.as_json(), "warnings": list(notes)}, allow_nan=False))
    else:
        bakeoff_table(report, notes, outcome)
