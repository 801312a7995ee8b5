"""`flipside replay`: real sales through the whole system."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Sales history: sales.csv[.gz], brands.csv.")],
    effect: Annotated[float, typer.Option(help="Planted effect on units sold: -0.10 sells 10 % less.")] = -0.10,
    seed: Annotated[
        str | None, typer.Option(help="Seed of the draws and of the rounding; the definition's, or 7.")
    ] = None,
    design: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A definition; random days over all stores where none is given.")
    ] = None,
    weeks: Annotated[int | None, typer.Option(min=2, help="Only so many weeks, from the first.")] = None,
    pre_weeks: Annotated[
        int | None,
        typer.Option(min=0, help="Weeks before the start; a third of them for designs measured against them, else 0."),
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Brokers; an embedded broker where none is given.")] = None,
    redis: Annotated[str | None, typer.Option(help="Redis URL; an embedded server where none is given.")] = None,
    namespace: Annotated[str | None, typer.Option(help="A fresh one where none is given.")] = None,
    attach: Annotated[bool, typer.Option(help="Use the worker and analysis that run under --namespace.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the outcome here: tables as Parquet, and a report."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a sales history as an experiment with a planted effect, and compare the estimate with the truth.

    A store is a market and a cluster, a brand a product, a data week one day. Starts a worker and an analysis process
    of its own under a namespace of its own, unless --attach.

    --design takes design, arms, clusters, balance, carryover and seed from a definition and fits units, start and days
    to the history; the effect is planted in every arm but control. Exit code 0 if no promise was broken, 2 otherwise.
    """
    import asyncio
    import sys

    from flipside.documents import read_experiment
    from flipside.replay.environment import ReplayOptions, run_replay
    from flipside.replay.fitted_definition import fit
    from flipside.replay.replay import FIRST_DAY
    from flipside.results.outcome import must_be_writable, write_outcome
    from flipside.sales_history.history import read_history
    from flipside.terminal.view import print_json, progress_bar, summary

    if out is not None:
        must_be_writable(out)
    definition = None if design is None else read_experiment(design)
    chosen = seed or (definition.seed if definition else "7")
    options = ReplayOptions(effect, chosen, kafka, redis, namespace, attach, definition, pre_weeks)
    history = read_history(folder).first(weeks)
    if definition is not None:
        fitted = fit(definition, history, FIRST_DAY, chosen, pre_weeks)
        lasting, days = len(history.periods), fitted.experiment.days
        print(f"{fitted.before} weeks before the start, {days} of the experiment, of {lasting} weeks", file=sys.stderr)
        history = history.first(fitted.before + days)
    with progress_bar(len(history.periods), "weeks") as advance:
        result = asyncio.run(run_replay(history, options, on_progress=advance))
    path = None if out is None else write_outcome(result, out)
    if as_json:
        print_json(result, path)
    else:
        summary(result)
        if path is not None:
            print(f"report, with pictures: {path}")
    raise typer.Exit(2 if result.violations else 0)
