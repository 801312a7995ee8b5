"""``flipside power``: what an experiment of a given size can tell, before it starts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from controller.definition.metrics import Metric
from flipside.commands.sales_options import CatalogFile, CurrencyCode, tell, with_sales_columns

if TYPE_CHECKING:
    from flipside.sales_history.columns import SalesColumns

#: cautious values where nobody says: half of the variance is a store's good and bad days, counts differ by half
CAUTIOUS_MACRO_SHARE, CAUTIOUS_CV = 0.5, 0.5
#: schedules of each design on the history: few clusters make the standard error itself uncertain
RUNS = 40


@with_sales_columns
def power(
    clusters: Annotated[
        int | None, typer.Option(help="Clusters that are randomised, both arms together; else --history.")
    ] = None,
    blocks: Annotated[int | None, typer.Option(help="Blocks (draws) per cluster over the whole experiment.")] = None,
    observations: Annotated[
        float | None, typer.Option(help="Mean observations (say, products with sales) per cluster and block.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(help="Standard deviation of one observation, in the outcome's unit.")
    ] = None,
    cv: Annotated[
        float | None, typer.Option(help="Coefficient of variation of the observations per cell; cautious: 0.5.")
    ] = None,
    macro_share: Annotated[
        float | None, typer.Option(help="Share of the variance that lies between cells, 0 to 1; cautious: 0.5.")
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(help="Effect to find: prints the days until it is seen. With --history a share, -0.05."),
    ] = None,
    block_days: Annotated[int, typer.Option(help="Days in a block.")] = 1,
    alpha: Annotated[float, typer.Option(help="Error rate, two-sided.")] = 0.05,
    target_power: Annotated[float, typer.Option("--power", help="Wanted chance to find the effect.")] = 0.8,
    inflate: Annotated[
        float, typer.Option(help="Lost cells and late sales widen real errors: .1 to .2 is prudent.")
    ] = 0.0,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history", metavar="SALES", help="Estimate all of that from sales, CSV or Parquet, as `replay`."
        ),
    ] = None,
    weeks: Annotated[int, typer.Option(min=1, help="With --history: weeks that the experiment lasts.")] = 4,
    design: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="With --history: only this kind (random_days, ...); repeatable."),
    ] = None,
    metric: Annotated[Metric, typer.Option(help="With --history: what the effect acts on.")] = "units",
    cluster_by: Annotated[
        Literal["market", "product", "unit"], typer.Option(help="With --history: what gets one price at a time.")
    ] = "market",
    catalog: CatalogFile = None,
    columns: "SalesColumns | None" = None,
    currency: CurrencyCode = None,
    market: Annotated[list[str] | None, typer.Option(help="With --history: only these markets; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of sentences.")] = False,
) -> None:
    """Standard error and smallest detectable effect of an experiment, before it starts.

    With --history every design is drawn 40 times on your sales and analysed as the real one will be; answers are
    shares of the mean and units. By hand: a balanced switchback by closed form. An observation is what is counted in a
    cell: the sales of one product in one store on one day.

    Example: flipside power --clusters 100 --blocks 168 --observations 20 --cv 1.5 --macro-share 0.2 --sd 1000
    """
    by_hand = {"clusters": clusters, "blocks": blocks, "observations": observations, "sd": sd}
    if history is not None:
        given = [name for name, value in {**by_hand, "cv": cv, "macro-share": macro_share}.items() if value is not None]
        if given:
            raise typer.BadParameter(f"--{given[0]} and --history: the history tells it; leave one of them out")
        from flipside.sales_history.own_sales import for_rehearsal, read_own

        own = read_own(history, columns=columns, catalog=catalog, currency=currency, markets=market or ())
        tell(own.notes)
        sales = for_rehearsal(own, metric, cluster_by)
        _from_history(sales, weeks, tuple(design or ()), effect, alpha, target_power, as_json)
        return
    missing = [name for name, value in by_hand.items() if value is None]
    if clusters is None or blocks is None or observations is None or sd is None:
        raise typer.BadParameter(
            f"--{missing[0]} is missing: give --clusters, --blocks, --observations and --sd, or --history SALES, which"
            " estimates them"
        )
    _by_hand(
        clusters, blocks, observations, sd, cv, macro_share, effect, block_days, alpha, target_power, inflate, as_json
    )


def _from_history(
    sales: object,
    weeks: int,
    kinds: tuple[str, ...],
    effect: float | None,
    alpha: float,
    target_power: float,
    as_json: bool,
) -> None:
    from analysis.planning.advice import Question
    from analysis.planning.advise import advise
    from analysis.planning.candidates import KINDS, Constraints
    from analysis.planning.power_parts import parts_of
    from analysis.planning.rehearsal import History, Truth
    from flipside.terminal.power_output import as_object, show

    assert isinstance(sales, History)
    strange = sorted(set(kinds) - set(KINDS))
    if strange:
        raise typer.BadParameter(f"--design {strange[0]}: it is one of {', '.join(KINDS)}")
    days = sales.period_days
    constraints = Constraints(weeks * 7 // days, days, 0, None, kinds or KINDS)
    question = Question(constraints, Truth(effect or -0.05), RUNS, alpha, target_power, "power")
    found, parts = advise(sales, question), parts_of(sales)
    if as_json:
        typer.echo(json.dumps(as_object(found, parts, sales, weeks)))
    else:
        show(found, parts, sales, weeks, target_power)


def _by_hand(
    clusters: int,
    blocks: int,
    observations: float,
    sd: float,
    cv: float | None,
    macro_share: float | None,
    effect: float | None,
    block_days: int,
    alpha: float,
    target_power: float,
    inflate: float,
    as_json: bool,
) -> None:
    from analysis.planning.power import days_to_decide, power_of, standard_error
    from controller.validation.cluster_minima import too_few

    assumed = {}
    if macro_share is None:
        macro_share = assumed["macro_share"] = CAUTIOUS_MACRO_SHARE
    if cv is None:
        cv = assumed["cv"] = CAUTIOUS_CV
    try:
        se = standard_error(
            clusters=clusters,
            blocks=blocks,
            observations=observations,
            cv=cv,
            macro_share=macro_share,
            sd=sd,
            inflate=inflate,
        )
        result = power_of(se, alpha=alpha, power=target_power)
        days = (
            None
            if effect is None
            else days_to_decide(effect, se * blocks**0.5, block_days=block_days, alpha=alpha, power=target_power)
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    few = too_few("always_valid", clusters)
    if as_json:
        document: dict[str, object] = {
            "se": result.se,
            "mde": result.mde,
            "mde_anytime": None if few else result.mde_anytime,
        }
        if assumed:
            document["assumed"] = assumed
        if few:
            document["no_anytime"] = few
        if days is not None:
            document |= {"effect": days.effect, "blocks": days.blocks, "days": days.days}
            document |= {
                "blocks_anytime": None if few else days.blocks_anytime,
                "days_anytime": None if few else days.days_anytime,
            }
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{clusters} clusters, {blocks} blocks of {block_days} day{'s' if block_days > 1 else ''}:")
    for name, value in assumed.items():
        typer.echo(f"  --{name.replace('_', '-')} is not given: a cautious {value} is assumed; --history estimates it")
    typer.echo(f"  standard error                          {result.se:.2f}")
    typer.echo(f"  smallest effect found, one planned look {result.mde:.2f}")
    typer.echo(f"  smallest effect found, looking any time {f'none: {few}' if few else f'{result.mde_anytime:.2f}'}")
    if days is not None:
        typer.echo(f"  days to find {days.effect:g}, one planned look     {days.days} ({days.blocks} blocks)")
        if not few:
            said = f"{days.days_anytime} ({days.blocks_anytime} blocks)"
            typer.echo(f"  days to find {days.effect:g}, looking any time     {said}")
