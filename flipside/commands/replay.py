"""`flipside replay`: real sales through the whole system."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Sales history: sales.csv[.gz], brands.csv.")],
    effect: Annotated[float, typer.Option(help="Planted effect on units sold: -0.10 sells 10 % less.")] = -0.10,
    seed: Annotated[str, typer.Option(help="Seed of the draws and of the rounding.")] = "7",
    weeks: Annotated[int | None, typer.Option(min=2, help="Only so many weeks, from the first.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Brokers; an embedded broker where none is given.")] = None,
    redis: Annotated[str | None, typer.Option(help="Redis URL; an embedded server where none is given.")] = None,
    namespace: Annotated[str | None, typer.Option(help="A fresh one where none is given.")] = None,
    attach: Annotated[bool, typer.Option(help="Use the worker and analysis that run under --namespace.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a sales history as an experiment with a planted effect, and compare the estimate with the truth.

    A store is a market and a cluster, a brand a product, a data week one day. Starts a worker and an analysis process
    of its own under a namespace of its own, unless --attach. Exit code 0 if no promise was broken, 2 otherwise.
    """
    import asyncio

    from flipside.history import read_history
    from flipside.replaying import ReplayOptions, run_replay
    from flipside.view import print_json, progress_bar, summary

    options = ReplayOptions(effect, seed, kafka, redis, namespace, attach)
    history = read_history(folder).first(weeks)
    with progress_bar(len(history.periods), "weeks") as advance:
        result = asyncio.run(run_replay(history, options, on_progress=advance))
    if as_json:
        print_json(result)
    else:
        summary(result)
    raise typer.Exit(2 if result.violations else 0)
