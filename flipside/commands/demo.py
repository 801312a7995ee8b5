"""`flipside demo`: the whole system in one terminal."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson


def demo(
    days: Annotated[int, typer.Option(min=4, max=365, help="Simulated days.")] = 28,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the market and of the draws.")] = 1,
    effect: Annotated[
        float, typer.Option(min=-0.9, max=9.0, help="True effect on units sold of the treatment.")
    ] = -0.10,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for its report and, as Parquet, its tables.")
    ] = Path("flipside-demo"),
    as_json: AsJson = False,
) -> None:
    """Run a price experiment on a simulated market: embedded broker and Redis, simulated time, a live view.

    20 stores sell 6 products; each day a random half of the stores is treated, and sells so much more or less. The
    running estimate closes in on the true effect; a report with pictures ends it. Exit code 0 if every promise held, 2
    otherwise.
    """
    import asyncio

    from flipside.replay.demo import DemoOptions, run_demo
    from flipside.results.outcome import must_be_writable, write_outcome
    from flipside.terminal.view import live_view, print_json, say_first_assignment, summary
    from flipside.without_pandas import keep_pandas_out

    keep_pandas_out()
    must_be_writable(out)
    with live_view(effect) as show:
        result = asyncio.run(run_demo(DemoOptions(days, seed, effect), show, say_first_assignment))
    path = write_outcome(result, out)
    if as_json:
        print_json(result, path)
    else:
        summary(result)
        print(f"report, with pictures: {path}")
    raise typer.Exit(2 if result.violations else 0)
