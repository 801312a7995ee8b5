"""`flipside replay`: real sales through the whole system."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flipside.commands.design import PublishedGraph
from flipside.commands.options import AsJson
from flipside.commands.sales_options import CatalogFile, CurrencyCode, tell, with_sales_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.definition.experiment import Experiment
    from flipside.replay.environment import ReplayOptions
    from flipside.sales_history.columns import SalesColumns
    from flipside.sales_history.history import History


@with_sales_columns
def replay(
    sales: Annotated[
        Path,
        typer.Argument(
            metavar="SALES",
            help="Sales as CSV or Parquet, a row a sale, a day or a week; or a folder as examples/sales.",
        ),
    ],
    effect: Annotated[float, typer.Option(help="Planted effect on units sold: -0.10 sells 10 % less.")] = -0.10,
    effect_in: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY=EFFECT", help="Another effect in a category of the catalog; repeatable."),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="Seed of the draws and of the rounding; the definition's, or 7.")
    ] = None,
    design: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A definition; random days over all stores where none is given.")
    ] = None,
    catalog: CatalogFile = None,
    blackouts: Annotated[
        Path | None, typer.Option("--blackouts", metavar="FILE", help="Blackout windows, one JSON object a line.")
    ] = None,
    graph: PublishedGraph = None,
    columns: "SalesColumns | None" = None,
    currency: CurrencyCode = None,
    weeks: Annotated[int | None, typer.Option(min=2, help="Only so many weeks, from the first.")] = None,
    pre_weeks: Annotated[
        int | None,
        typer.Option(min=0, help="Weeks before the start; else what the history has to spare, or the design asks for."),
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
    """Replay sales as an experiment with a planted effect, and compare the estimate with the truth.

    Starts a worker and an analysis process of its own under a namespace of its own, unless --attach.

    With a table of sales, the definition of --design runs unchanged: guardrails, limits, currency, --blackouts, start
    and days. The last days of the sales are used as its days. What cannot be rehearsed is printed first. With a folder
    like examples/sales, a week of data becomes a day, and the definition is fitted to the folder's units and weeks.

    The effect is planted in every arm but control, --effect-in in one category of units. Exit code 0 if no promise was
    broken, 2 otherwise.

    Example: flipside replay shop/sales.csv --catalog shop/catalog.jsonl --design shop/definition.yaml
    """
    import asyncio

    from controller.errors import FlipsideError
    from flipside.documents import read_experiment
    from flipside.replay.environment import ReplayOptions, run_replay
    from flipside.results.outcome import must_be_writable, tables_from_folder, who_responds, write_outcome
    from flipside.sales_history.tables import is_own
    from flipside.terminal.view import print_json, progress_bar, summary
    from flipside.topics.graphs import parts_of

    if out is not None:
        must_be_writable(out)
    definition = None if design is None else read_experiment(design)
    chosen = seed or (definition.seed if definition else "7")
    published = () if graph is None else tuple(parts_of(graph))
    options = ReplayOptions(
        effect, chosen, kafka, redis, namespace, attach, definition, pre_weeks,
        graph=published, effects_by_category=_by_category(effect_in or ()),
    )  # fmt: skip
    if is_own(sales) or columns is not None:
        history, options = _own(sales, columns, catalog, blackouts, currency, weeks, options)
    else:
        history, options = _folder(sales, catalog, blackouts, weeks, options)
    unknown = options.effects_by_category.keys() - {entry.category for entry in history.catalog}
    if unknown:
        there = ", ".join(sorted({str(entry.category) for entry in history.catalog}))
        raise FlipsideError(f"--effect-in {min(unknown)}: no unit is of that category; the catalog has {there}")
    with progress_bar(len(history.periods), "days" if history.period_days == 1 else "weeks") as advance:
        result = asyncio.run(run_replay(history, options, on_progress=advance))
    path = None if out is None else write_outcome(result, out)
    if as_json:
        who = None if out is None else who_responds(*tables_from_folder(out, result.experiment))
        print_json(result, path, who)
    else:
        summary(result)
        if path is not None:
            print(f"report, with pictures: {path}")
    raise typer.Exit(2 if result.violations else 0)


def _by_category(given: "Sequence[str]") -> dict[str, float]:
    """``CATEGORY=EFFECT`` each."""
    from controller.errors import FlipsideError

    found = {}
    for text in given:
        category, _, effect = text.rpartition("=")
        try:
            found[category] = float(effect)
        except ValueError:
            category = ""
        if not category or not found[category] > -1.0:
            raise FlipsideError(f"--effect-in {text!r}: write CATEGORY=EFFECT, the effect above -1, as toys=-0.3")
    return found


def _folder(
    folder: Path, catalog: Path | None, blackouts: Path | None, weeks: int | None, options: "ReplayOptions"
) -> "tuple[History, ReplayOptions]":
    """A folder of weeks: the definition is fitted to it."""
    from controller.errors import FlipsideError
    from flipside.replay.definition_as_it_stands import left_out_of_a_fit
    from flipside.replay.fitted_definition import fit
    from flipside.replay.plan import FIRST_DAY
    from flipside.sales_history.history import read_history

    if catalog is not None or blackouts is not None:
        raise FlipsideError(
            f"{folder} is a folder of weeks, which are played as days of 1990: a catalog or blackouts of yours are of"
            " other days; give a table of sales instead (`flipside sample DIR` writes one)"
        )
    history = read_history(folder).first(weeks)
    if options.definition is None:
        return history, options
    tell(left_out_of_a_fit(options.definition))
    fitted = fit(options.definition, history, FIRST_DAY, options.seed, options.before)
    lasting, days = len(history.periods), fitted.experiment.days
    tell([f"{fitted.before} weeks before the start, {days} of the experiment, of {lasting} weeks"])
    return history.first(fitted.before + days), options


def _own(
    path: Path,
    columns: "SalesColumns | None",
    catalog: Path | None,
    blackouts: Path | None,
    currency: str | None,
    weeks: int | None,
    options: "ReplayOptions",
) -> "tuple[History, ReplayOptions]":
    """A table of sales: the definition is played as it stands."""
    from dataclasses import replace

    from controller.definition.money import NO_CURRENCY
    from controller.errors import FlipsideError
    from controller.messages.graphs import PublishedGraphs
    from controller.messages.inputs import Blackout, CatalogEntry
    from flipside.documents import read_lines
    from flipside.replay.definition_as_it_stands import as_it_stands
    from flipside.sales_history.own_sales import for_replay, read_own

    definition = options.definition
    if blackouts is not None and definition is None:
        raise FlipsideError("--blackouts are windows in the days of a definition: give it with --design FILE")
    own = read_own(
        path,
        columns=columns,
        catalog=catalog,
        currency=currency,
        unnamed=NO_CURRENCY if definition is None else definition.currency,
    )
    tell(own.notes)
    part = None if weeks is None else weeks * 7 // own.periods.period_days
    before = None if options.before is None else options.before * 7 // own.periods.period_days
    if definition is None:
        history = for_replay(own).first(part)
        tell(history.notes[len(own.notes) :])
        return history, replace(options, before=before)
    entries = own.catalog if catalog is None else read_lines(catalog, CatalogEntry)
    windows = () if blackouts is None else tuple(read_lines(blackouts, Blackout))
    graphs = PublishedGraphs()
    for record in options.graph:
        graphs.take(record.key, record)
    asked = None if definition.clusters_from is None else graphs
    played = as_it_stands(_seeded(definition, options.seed), own, entries, windows, before, asked)
    tell(played.history.notes[len(own.notes) :])
    tell(played.notes)
    return played.history, replace(
        options, definition=played.experiment, before=played.before, as_it_stands=True, blackouts=windows
    )


def _seeded(definition: "Experiment", seed: str) -> "Experiment":
    return definition.model_copy(update={"seed": seed})
