"""``flipside power``: what an experiment of a given size can tell, before it starts."""

import json
from typing import Annotated

import typer


def power(
    clusters: Annotated[int, typer.Option(help="Clusters that are randomised, both arms together.")],
    blocks: Annotated[int, typer.Option(help="Blocks (draws) per cluster over the whole experiment.")],
    observations: Annotated[float, typer.Option(help="Mean observations per cluster and block.")],
    sd: Annotated[float, typer.Option(help="Standard deviation of one observation, in the outcome's unit.")],
    cv: Annotated[float, typer.Option(help="Coefficient of variation of the observations per cell.")] = 0.0,
    macro_share: Annotated[float, typer.Option(help="Share of the variance that lies between cells, 0 to 1.")] = 0.0,
    effect: Annotated[float | None, typer.Option(help="Effect to find: prints the days until it is seen.")] = None,
    block_days: Annotated[int, typer.Option(help="Days in a block.")] = 1,
    alpha: Annotated[float, typer.Option(help="Error rate, two-sided.")] = 0.05,
    target_power: Annotated[float, typer.Option("--power", help="Wanted chance to find the effect.")] = 0.8,
    inflate: Annotated[
        float, typer.Option(help="Lost cells and late sales widen real errors: .1 to .2 is prudent.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of sentences.")] = False,
) -> None:
    """Standard error and smallest detectable effect of a balanced switchback, by closed form.

    Example: flipside power --clusters 100 --blocks 168 --observations 20 --cv 1.5 --macro-share 0.2 --sd 1000
    """
    from analysis.planning.power import days_to_decide, power_of, standard_error

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
    if as_json:
        document: dict[str, float] = {"se": result.se, "mde": result.mde, "mde_anytime": result.mde_anytime}
        if days is not None:
            document |= {
                "effect": days.effect,
                "blocks": days.blocks,
                "days": days.days,
                "blocks_anytime": days.blocks_anytime,
                "days_anytime": days.days_anytime,
            }
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{clusters} clusters, {blocks} blocks of {block_days} day{'s' if block_days > 1 else ''}:")
    typer.echo(f"  standard error                          {result.se:.2f}")
    typer.echo(f"  smallest effect found, one planned look {result.mde:.2f}")
    typer.echo(f"  smallest effect found, looking any time {result.mde_anytime:.2f}")
    if days is not None:
        typer.echo(f"  days to find {days.effect:g}, one planned look     {days.days} ({days.blocks} blocks)")
        typer.echo(
            f"  days to find {days.effect:g}, looking any time     {days.days_anytime} ({days.blocks_anytime} blocks)"
        )
