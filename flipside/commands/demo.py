"""`flipside demo`: the whole system in one terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flipside.commands.options import AsJson

if TYPE_CHECKING:
    from flipside.replay.demo import Serving


def demo(
    days: Annotated[int, typer.Option(min=4, max=365, help="Simulated days.")] = 28,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the market and of the draws.")] = 1,
    effect: Annotated[
        float, typer.Option(min=-0.9, max=9.0, help="True effect on units sold of the treatment.")
    ] = -0.10,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for its report and, as Parquet, its tables.")
    ] = Path("flipside-demo"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Play up to today, then keep running under this machine's clock.")
    ] = False,
    spillover: Annotated[
        bool,
        typer.Option("--spillover", help="A market with substitution, and who pays for a dearer price."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a price experiment on a simulated market: embedded broker and Redis, simulated time, a live view.

    20 stores sell 6 products; each day a random half of the stores is treated, which changes its sales by --effect. The
    running estimate approaches the true effect; a report with pictures is written at the end. Exit code 0 if every
    promise held, 2 otherwise.

    With --spillover products take sales from each other: 120 of them, randomised by clusters of a graph that a year of
    sales gave. Naive, total, direct and spillover effects end it, beside the planted ones; --effect is not asked.

    With --serve a client can be tried against it: broker, namespace and the lines of Python that read an arm are
    printed, and it runs until it is stopped. Its next midnight is at most an hour ahead.
    """
    import asyncio

    from flipside.replay.demo import DemoOptions, run_demo
    from flipside.results.outcome import must_be_writable, write_outcome
    from flipside.terminal.view import live_view, print_json, say_first_assignment, summary
    from flipside.without_pandas import keep_pandas_out

    keep_pandas_out()
    if serve:
        _serve(days, seed, effect, as_json)
        return
    must_be_writable(out)
    if spillover:
        _spillover(days, seed, out, as_json)
    with live_view(effect) as show:
        result = asyncio.run(run_demo(DemoOptions(days, seed, effect), show, say_first_assignment))
    path = write_outcome(result, out)
    if as_json:
        print_json(result, path)
    else:
        summary(result)
        print(f"report, with pictures: {path}")
    raise typer.Exit(2 if result.violations else 0)


def _spillover(days: int, seed: int, out: Path, as_json: bool) -> NoReturn:
    import asyncio
    import json

    from analysis.export.tables import tables_of
    from analysis.report.spillover import rows_of
    from controller.definition.money import major
    from flipside.replay.demo import run_spillover_demo
    from flipside.replay.plan import FIRST_DAY
    from flipside.results.outcome import write_outcome
    from flipside.simulated_shop.substitution import substitution_market
    from flipside.terminal.spillover_output import print_effects
    from flipside.terminal.view import progress_bar

    market = substitution_market(seed, FIRST_DAY, days)
    with progress_bar(len(market.history.periods), "days") as advance:
        result = asyncio.run(run_spillover_demo(market, seed, advance))
    path, currency = write_outcome(result, out), market.experiment.currency
    rows = rows_of(tables_of(result.messages)["spillover"], currency)
    planted = {
        (metric, effect, estimator): value if metric == "units" else major(value, currency)
        for metric, truth in market.truth.items()
        for effect, estimator in PLANTED
        for value in [getattr(truth, effect)]
    }
    if as_json:
        kept = ("metric", "effect", "exposure_estimator", "value", "low", "high", "dropped", "reason_absent")
        told = [
            {name: row[name] for name in kept}
            | {"planted": planted.get((row["metric"], row["effect"], row["exposure_estimator"]))}
            for row in rows
        ]
        said = {"experiment": result.experiment, "graph": rows[0]["graph"], "cut": rows[0]["cut"], "effects": told}
        print(json.dumps(said | {"violations": result.violations, "report": str(path)}))
    else:
        print_effects(result.experiment, rows, planted)
        print(f"broken promises: {result.violations}; report, with pictures: {path}")
    raise typer.Exit(2 if result.violations else 0)


#: what the market's truth has a number for: what naive and Hajek's spillover contrasts are about depends on the draw
PLANTED = (("total", "hajek"), ("total", "linear"), ("direct", "hajek"), ("direct", "linear"), ("spillover", "linear"))


def served_lines(at: "Serving") -> tuple[str, str, str]:
    """Python that reads an arm of a served demo."""
    return (
        "from datetime import UTC, datetime; from flipside_client.sync import SyncAssignments",
        f'with SyncAssignments("{at.broker}", namespace="{at.namespace}") as assignments:',
        f'    print(assignments.arm("{at.unit}", datetime.now(UTC)))',
    )


def _serve(days: int, seed: int, effect: float, as_json: bool) -> None:
    import asyncio
    import json
    import signal
    from dataclasses import asdict

    from flipside.replay.demo import DemoOptions, Serving, serve_demo

    def ready(at: Serving) -> None:
        if as_json:
            print(json.dumps(asdict(at)), flush=True)
            return
        print(f"broker {at.broker}, namespace {at.namespace}; arms change at midnight in {at.time_zone}\n")
        print("\n".join(served_lines(at)), flush=True)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_demo(DemoOptions(days, seed, effect), ready, stop)

    asyncio.run(until_stopped())
