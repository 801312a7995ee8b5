"""`flipside design`: a definition laid out before it runs, and why a cluster has its arm."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flipside.commands.options import AsJson

if TYPE_CHECKING:
    from rich.table import Table

    from controller.definition.experiment import Experiment
    from controller.schedule.calendar import Calendar, Delivered
    from flipside.plan import Plan

Catalog = Annotated[
    Path | None,
    typer.Option("--catalog", help="Catalog entries, one JSON object a line: for `select`, categories, time zones."),
]
Blackouts = Annotated[
    Path | None, typer.Option("--blackouts", help="Blackout windows, one JSON object a line: the calendar shows them.")
]


def design(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/designs.")],
    explain: Annotated[
        tuple[str, str] | None,
        typer.Option("--explain", metavar="CLUSTER DAY", help="Why this cluster has its arm on this day (YYYY-MM-DD)."),
    ] = None,
    catalog: Catalog = None,
    blackouts: Blackouts = None,
    draws: Annotated[int, typer.Option(min=100, help="Draws where a propensity has no formula.")] = 2000,
    search: Annotated[
        bool, typer.Option("--search", help="Find the randomisation points of least risk, outside the blackouts.")
    ] = False,
    most_points: Annotated[
        int | None, typer.Option(min=1, help="With --search: so many coins at most, so one price change fewer.")
    ] = None,
    weekday: Annotated[
        bool, typer.Option("--whole-weeks", help="With --search: blocks of whole weeks, so that weekdays balance.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The calendar of every cluster, its balance, risk and propensities, and the hash. Nothing is submitted.

    Exit code 3 where the definition breaks a rule; every broken rule is named.
    """
    import json
    from datetime import date, timedelta

    from controller.errors import FlipsideError
    from controller.messages.inputs import Blackout, CatalogEntry
    from controller.schedule.explanation import explain_arm
    from controller.validation.blackout_rules import parse_blackout
    from flipside.documents import read_experiment, read_lines
    from flipside.plan import as_object, checked, plan_of, points_of

    entries = {} if catalog is None else {e.unit: e for e in read_lines(catalog, CatalogEntry)}
    windows = [] if blackouts is None else read_lines(blackouts, Blackout)
    for window in windows:
        parse_blackout(window.model_dump_json())
    experiment = checked(read_experiment(file), entries)
    if explain is not None:
        cluster, day = explain
        last = experiment.end - timedelta(days=1)
        try:
            on = date.fromisoformat(day)
        except ValueError as error:
            rule = f"a local day is written YYYY-MM-DD, here from {experiment.start} to {last}"
            raise FlipsideError(f"--explain: day {day!r}: {rule}") from error
        try:
            found = explain_arm(experiment, cluster, on)
        except ValueError as error:
            raise FlipsideError(str(error)) from error
        if as_json:
            body = {"cluster": cluster, "day": day, "arm": found.arm, "washed_out": found.washed_out}
            print(json.dumps(body | {"steps": found.steps}))
        else:
            print("\n".join(found.steps))
            print("its data are thrown out (washout)" if found.washed_out else "its data count")
        return
    if search:
        best = points_of(experiment, windows, most_points, weekday)
        if as_json:
            print(json.dumps({"points": best.points, "risk": best.risk}))
        else:
            print(f"points: [{', '.join(map(str, best.points))}]")
            print(f"worst-case risk {best.risk:.4g} B^2; write them as `design.points` of a blocked_switchback")
        return
    plan = plan_of(experiment, windows, draws, provisional=not set(experiment.units) <= set(entries))
    if as_json:
        print(json.dumps(as_object(plan)))
    else:
        _show(plan)


def _show(plan: "Plan") -> None:
    from rich.console import Console

    console = Console()
    experiment = plan.experiment
    console.print(
        f"[bold]{experiment.name}[/bold] version {experiment.version}: {experiment.design.kind}, "
        f"{len(plan.calendar.clusters)} clusters, {experiment.start} to {plan.calendar.days[-1]}, "
        f"m = {experiment.carryover_order}"
    )
    said = " (provisional: without the catalog's time zones and units, see --catalog)" if plan.provisional else ""
    console.print(f"design hash {plan.design_hash}{said}")
    console.print(_calendar(experiment, plan.calendar, plan.delivered))
    console.print(_balance(plan))
    for day, chances in plan.steps:
        shown = ", ".join(f"{arm.name} {c:.3f}" for arm, c in zip(experiment.arms, chances, strict=True))
        console.print(f"propensity from {day} on: {shown}")
    changes = plan.changes
    console.print(f"price changes a unit: {min(changes)} to {max(changes)}, mean {sum(changes) / len(changes):.1f}")
    if plan.risk is None:
        console.print("worst-case risk: no coins over time in this design")
    else:
        ratio = plan.risk.risk / plan.risk.optimal_risk
        console.print(
            f"worst-case risk {plan.risk.risk:.4g} B^2, {ratio:.2f} times the optimum for m = "
            f"{plan.risk.carryover_order} ({plan.risk.optimal_risk:.4g} B^2)"
        )
    if plan.distances:
        console.print(f"covariate distance between arms: at most {max(plan.distances):.3g} in any block")


def _calendar(experiment: "Experiment", plan: "Calendar", delivered: "Delivered") -> "Table":
    from rich.table import Table

    letters = "·123456789ABCDEF"
    table = Table(
        title="one column a day: · control, 1 first arm, ...; lower line ~ washout, ! blackout keeps the old arm",
        title_justify="left",
    )
    table.add_column("cluster", no_wrap=True)
    table.add_column(f"{plan.days[0]} ...", overflow="fold")
    for row, cluster in list(enumerate(plan.clusters))[:SHOWN]:
        arms = "".join(letters[arm] for arm in delivered.arms[row])
        marks = "".join(
            "!" if b else "~" if w else " " for b, w in zip(delivered.blocked[row], plan.washout[row], strict=True)
        )
        table.add_row(cluster, arms + ("\n" + marks if marks.strip() else ""))
    if len(plan.clusters) > SHOWN:
        table.add_row(f"and {len(plan.clusters) - SHOWN} more", "--json has them all")
    return table


#: clusters in the table; all of them are in --json
SHOWN = 40


def _balance(plan: "Plan") -> "Table":
    from rich.table import Table

    exact = plan.propensity_draws is None
    said = "exact" if exact else f"from {plan.propensity_draws} draws"
    table = Table(title=f"balance: clean cluster-days of each arm by weekday; propensity in block 1, {said}")
    for column in ("arm", "price", "propensity", "Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"):
        table.add_column(column, justify="right")
    for k, arm in enumerate(plan.experiment.arms):
        rule = arm.price
        price = "list" if rule.percent is None else f"{rule.percent:+f} %"
        price = price if rule.absolute_minor is None else f"{rule.absolute_minor} (minor units)"
        low, high = plan.propensity[k]
        chance = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f}-{high:.3f}"
        table.add_row(arm.name, price, chance, *map(str, plan.weekdays[k]))
    return table
