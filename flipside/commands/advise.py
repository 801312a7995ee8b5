"""``flipside advise``: which design to run, by rehearsing every one of them on the owner's own history."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from controller.definition.metrics import Metric
from flipside.commands.options import AsJson
from flipside.commands.sales_options import CatalogFile, CurrencyCode, tell, with_sales_columns

if TYPE_CHECKING:
    from flipside.sales_history.columns import SalesColumns


@with_sales_columns
def advise(
    history: Annotated[
        Path,
        typer.Argument(
            metavar="HISTORY",
            help="Sales as CSV or Parquet, a row a sale, a day or a week; or a folder as of examples/sales.",
        ),
    ],
    effect: Annotated[
        float, typer.Option(help="Effect worth finding, as a share of the metric: -0.05 is five per cent less.")
    ],
    weeks: Annotated[int, typer.Option(min=1, help="Weeks that the experiment may last.")],
    carryover_days: Annotated[int, typer.Option(min=0, help="Days that a price still acts after it ended.")] = 0,
    carryover_share: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the effect that comes from those days, where there are any.")
    ] = 0.4,
    max_changes_per_week: Annotated[
        float | None, typer.Option(min=1, help="Price changes of a unit within seven days, at most; else any number.")
    ] = None,
    design: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Try only this kind of design (random_days, crossover, ...); repeatable."),
    ] = None,
    metric: Annotated[Metric, typer.Option(help="Of a folder of sales: what the effect acts on.")] = "units",
    clusters: Annotated[
        Literal["market", "product", "unit"] | None,
        typer.Option(help="What gets one price at a time; market for a folder, else unit. Zones: see --cluster."),
    ] = None,
    market: Annotated[list[str] | None, typer.Option(help="Only these markets; repeatable.")] = None,
    columns: "SalesColumns | None" = None,
    catalog: CatalogFile = None,
    currency: CurrencyCode = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table of outcomes: the metric [outcome].")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table: units of one label (a price zone) move together.")
    ] = None,
    pre_weeks: Annotated[
        int | None,
        typer.Option(min=0, help="Weeks of history before the start that the analysis has; else half of the spare."),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=2, help="Schedules drawn of each design; 200 give a standard error to within 5 %.")
    ] = 200,
    alpha: Annotated[float, typer.Option(min=0.001, max=0.5, help="Error rate, two-sided.")] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="Wanted chance to find the effect.")] = 0.8,
    seed: Annotated[str, typer.Option(help="Of the schedules: the same seed gives the same numbers.")] = "advice",
    jobs: Annotated[int, typer.Option(help="Processes; -1 for all cores. The answer does not depend on it.")] = -1,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the recommended design as a definition to replay.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse every design on a sales history, and recommend one with its reasons.

    Each design's schedules come from the production generator and its estimates from the production analysis, once
    without an effect (A/A) and once with the planted one, part of it late where prices act for days. Printed are bias,
    standard error, smallest effect that will be found at one planned look and at any time of looking, price changes,
    and time to decide; effects are shares of control's mean.

    Sales of weeks have one row of history a week: there a design's day is a week of the history, as in `flipside
    replay`.

    Example: flipside advise examples/sales --effect -0.10 --weeks 6 --carryover-days 7
    """
    from analysis.planning.advice import Question
    from analysis.planning.advise import advise as ask
    from analysis.planning.candidates import KINDS, Constraints
    from analysis.planning.rehearsal import Truth
    from controller.errors import FlipsideError
    from flipside.commands.panel_output import progress_bar
    from flipside.sales_history.own_sales import for_rehearsal, read_own
    from flipside.sales_history.tables import Columns, is_own, read_sales
    from flipside.terminal.advice_output import as_object, definition_text, next_start, show
    from flipside.terminal.view import print_object
    from streams.runtime.clock import WallClock

    if effect == 0:
        raise typer.BadParameter("--effect 0: name the smallest effect that would change the decision")
    strange = sorted(set(design or ()) - set(KINDS))
    if strange:
        raise typer.BadParameter(f"--design {strange[0]}: it is one of {', '.join(KINDS)}")
    unit, time = (None, None) if columns is None else (columns.unit, columns.time)
    given = {"unit": unit, "time": time, "outcome": outcome, "cluster": cluster}
    named = {name: value for name, value in given.items() if value is not None}
    of_outcomes = Columns(**named) if named else None
    if is_own(history, of_outcomes if outcome or cluster else None):
        own = read_own(history, columns=columns, catalog=catalog, currency=currency, markets=market or ())
        tell(own.notes)
        sales = for_rehearsal(own, metric, clusters or "market")
        if out is not None:
            own.currency("--out: a definition")
    else:
        sales = read_sales(history, metric=metric, clusters=clusters, markets=market or (), columns=of_outcomes)
    days = sales.period_days
    carryover = -(-carryover_days // days)
    question = Question(
        Constraints(weeks * 7 // days, days, carryover, max_changes_per_week, tuple(design or KINDS)),
        Truth(effect, carryover, carryover_share if carryover else 0.0),
        runs,
        alpha,
        power,
        seed,
        None if pre_weeks is None else pre_weeks * 7 // days,
    )
    with progress_bar("rehearsals, ten at a time") as (step, bar):

        def started(total: int):  # type: ignore[no-untyped-def]
            bar.update(bar.task_ids[0], total=total)
            return step

        try:
            advice = ask(sales, question, jobs=jobs, progress=started)
        except ValueError as error:
            raise FlipsideError(str(error)) from error
    if out is not None:
        out.write_text(definition_text(advice, sales, next_start(WallClock().now().date())))
    if as_json:
        print_object(as_object(advice, sales, question))
    else:
        show(advice, sales, question)
