"""`flipside design`: a definition laid out before it runs, and why a cluster has its arm."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from controller.definition.experiment import Experiment
    from controller.errors import Problem
    from controller.messages.graphs import PublishedGraphs
    from controller.messages.inputs import Blackout, CatalogEntry
    from controller.schedule.calendar import Calendar, Delivered
    from flipside.plan import Plan

Catalog = Annotated[
    Path | None,
    typer.Option("--catalog", help="Catalog entries, one JSON object a line: for `select`, categories, time zones."),
]
Blackouts = Annotated[
    Path | None, typer.Option("--blackouts", help="Blackout windows, one JSON object a line: the calendar shows them.")
]
PublishedGraph = Annotated[
    Path | None,
    typer.Option("--graph", help="For `clusters_from`: what `flipside graph publish --out FILE` wrote."),
]
#: the rules of registration that only the running system can check
NOT_CHECKED = ("whether another experiment has these units at that time; `flipside experiment submit` does",)
#: assignments of the first day go out after this instant, whatever the lead
LONG_BEFORE = timedelta(days=14)
Strict = Annotated[bool, typer.Option("--strict", help="Warnings are errors: exit code 3 where there is one.")]


def design(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/designs.")],
    explain: Annotated[
        tuple[str, str] | None,
        typer.Option("--explain", metavar="CLUSTER DAY", help="Why this cluster has its arm on this day (YYYY-MM-DD)."),
    ] = None,
    catalog: Catalog = None,
    blackouts: Blackouts = None,
    graph: PublishedGraph = None,
    kafka: Kafka = None,
    namespace: Namespace = None,
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
    strict: Strict = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="With --graph: the graph by cluster and arm, as .html, .svg or .png."
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="Check as of this instant (2026-12-24T00:00:00Z) instead of now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a definition will do: units, prices, calendar, balance, risk, hash. Nothing is submitted.

    Exit code 3 where the definition, the catalog or a blackout breaks a rule; every broken rule is named, in the words
    of `submit`. What is allowed and was perhaps not meant is a warning. --explain and --search check no start and no
    price. Clusters of `clusters_from` are those of --graph FILE, or with --kafka those that are published now.
    """
    import json

    from controller.errors import InvalidExperiment
    from controller.schedule.preflight import as_object as preview_object
    from controller.schedule.preflight import preview
    from controller.validation.graph_clusters import cut_of
    from controller.validation.preflight_warnings import warnings
    from flipside.documents import read_blackouts, read_experiment
    from flipside.places import placed
    from flipside.plan import as_object, checked, plan_of
    from flipside.terminal.preflight_output import lines

    now = _instant(at)
    entries, places, twice = _read_catalog(catalog)
    found = [] if blackouts is None else read_blackouts(blackouts)
    windows = [window for _, window in found]
    places |= {f"blackouts[{window.id}]": f"{blackouts.name}, line {n}" for n, window in found if blackouts}
    asked = read_experiment(file)
    graphs = read_graphs(asked, graph, kafka, namespace)
    if explain is not None or search:
        experiment = _laid_open(asked, entries, file, graphs)
        if explain is not None:
            _explain(experiment, windows, explain, as_json)
        else:
            _search(experiment, windows, most_points, weekday, as_json)
        return
    try:
        experiment = checked(asked, entries, now, graphs)
    except InvalidExperiment as error:
        problems = error.problems if at else tuple(_or_earlier(one, asked) for one in error.problems)
        raise InvalidExperiment(placed(problems, file, places)) from error
    cut = cut_of(experiment, graphs)
    cautions = placed((*warnings(asked, experiment, entries, windows, now, cut), *twice), file, places)
    if strict and cautions:
        raise InvalidExperiment(cautions)
    known = {} if entries is None else entries
    plan = plan_of(experiment, windows, draws, provisional=entries is None)
    if picture is not None:
        _draw(plan, graphs, picture)
    shown = preview(experiment, known, cautions, plan.calendar, cut)
    if as_json:
        print(json.dumps(as_object(plan) | {"preview": preview_object(shown), "not_checked": list(NOT_CHECKED)}))
    else:
        _show(plan, [*lines(shown), *(f"not checked: {rule}" for rule in NOT_CHECKED)])


def _draw(plan: "Plan", graphs: "PublishedGraphs | None", picture: Path) -> None:
    """The first market's products, coloured by cluster, with the arms that the first day delivers."""
    from analysis.report.graph import graph_chart
    from analysis.report.picture import save
    from controller.definition.field_types import market_of, product_of
    from controller.errors import FlipsideError

    experiment = plan.experiment
    asked = experiment.clusters_from
    if asked is None or graphs is None:
        raise FlipsideError("--picture draws the graph that `clusters_from` names: give it with --graph FILE")
    market = min(market_of(unit) for unit in experiment.units)
    of, members, arms = experiment.cluster_by_unit(), dict[str, list[str]](), dict[str, str]()
    names = [arm.name for arm in experiment.arms]
    row = {cluster: number for number, cluster in enumerate(plan.calendar.clusters)}
    for unit in experiment.units:
        if market_of(unit) == market:
            members.setdefault(of[unit], []).append(product_of(unit))
            arms[product_of(unit)] = names[int(plan.delivered.arms[row[of[unit]], 0])]
    try:
        chart = graph_chart(asked.graph, graphs.pairs(asked.graph), members, arms, names, str(experiment.start))
    except ValueError as error:
        raise FlipsideError(f"--picture {picture}: {error}") from error
    save(chart, picture)


def read_graphs(
    asked: "Experiment", graph: Path | None, kafka: str | None, namespace: str | None
) -> "PublishedGraphs | None":
    """The graphs that a definition's clusters may come from, where it asks for any and they can be read."""
    import asyncio

    from flipside.topics import graphs

    if asked.clusters_from is None:
        return None
    if graph is not None:
        return graphs.from_file(graph)
    return None if kafka is None else asyncio.run(graphs.read(settings_from(kafka=kafka, namespace=namespace)))


def _or_earlier(problem: "Problem", asked: "Experiment") -> "Problem":
    """A start that is past can still be laid out."""
    if problem.field != "start":
        return problem
    earlier = asked.start - LONG_BEFORE
    return replace(
        problem, way_out=f"{problem.way_out}; to see what it was, lay it out as of then: --at {earlier}T00:00:00Z"
    )


def _instant(text: str | None) -> "datetime":
    from datetime import datetime

    from controller.errors import FlipsideError
    from streams.runtime.clock import WallClock

    if text is None:
        return WallClock().now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise FlipsideError(f"--at {text}: an instant is written 2026-12-24T00:00:00Z") from error
    if found.tzinfo is None:
        raise FlipsideError(f"--at {text}: an instant has a zone; write {text}Z for UTC")
    return found


def _read_catalog(file: Path | None) -> "tuple[dict[str, CatalogEntry] | None, dict[str, str], tuple[Problem, ...]]":
    """The entries of a file, where each stands, and a warning for each unit on several lines: the last one counts."""
    from controller.errors import Problem
    from controller.messages.inputs import CatalogEntry
    from flipside.documents import read_numbered

    if file is None:
        return None, {}, ()
    found = read_numbered(file, CatalogEntry)
    numbers: dict[str, list[str]] = {}
    for number, entry in found:
        numbers.setdefault(entry.unit, []).append(str(number))
    rule = "a unit has one entry: the last of several replaces the others"
    twice = tuple(
        Problem(f"catalog[{unit}].unit", f"{unit} on lines {', '.join(several)}", rule, "remove all but one")
        for unit, several in numbers.items()
        if len(several) > 1
    )
    places = {f"catalog[{unit}]": f"{file.name}, line {several[-1]}" for unit, several in numbers.items()}
    return {entry.unit: entry for _, entry in found}, places, twice


def _laid_open(
    asked: "Experiment", entries: "dict[str, CatalogEntry] | None", file: Path, graphs: "PublishedGraphs | None"
) -> "Experiment":
    """For --explain and --search, which serve running experiments too: the rules that need neither prices nor clock."""
    from controller.errors import InvalidExperiment
    from controller.validation.registration import resolve
    from flipside.places import placed
    from flipside.plan import checked

    try:
        if entries is None:
            return checked(asked, None, None, graphs)
        resolved = resolve(asked, entries)
        zones = resolved.time_zones()
        laid_out = checked(resolved, None, None, graphs)
        markets = tuple(m.model_copy(update={"time_zone": zones.get(m.name, m.time_zone)}) for m in laid_out.markets)
        return laid_out.model_copy(update={"markets": markets})
    except InvalidExperiment as error:
        raise InvalidExperiment(placed(error.problems, file)) from error


def _explain(experiment: "Experiment", windows: "list[Blackout]", explain: tuple[str, str], as_json: bool) -> None:
    import json
    from datetime import date

    from controller.errors import FlipsideError
    from controller.schedule.calendar import calendar, deliver
    from controller.schedule.explanation import explain_arm
    from flipside.plan import why_left_out, windows_on

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
    layout = calendar(experiment)
    held = deliver(experiment, layout, windows)
    arm = held.arms[layout.clusters.index(cluster), (on - experiment.start).days]
    shown = experiment.arms[arm].name
    binding = windows_on(experiment, windows, cluster, on)
    left_out = why_left_out(experiment, layout, held, binding, cluster, on)
    if as_json:
        body = {"cluster": cluster, "day": day, "arm": found.arm, "washed_out": found.washed_out, "held": shown}
        body |= {"counts": left_out is None, "why_left_out": left_out, "blackouts": [one.id for one in binding]}
        print(json.dumps(body | {"steps": found.steps}))
        return
    print("\n".join(found.steps))
    for one in binding:
        print(f"blackout {one.id} forbids a change when this day begins, until {one.ends_at}: {one.reason}")
    if shown != found.arm:
        print(f"so {cluster} keeps {shown}")
    print("its data count" if left_out is None else f"its data do not count: {left_out}")


def _search(
    experiment: "Experiment", windows: "list[Blackout]", most_points: int | None, weekday: bool, as_json: bool
) -> None:
    import json

    from flipside.plan import points_of

    best = points_of(experiment, windows, most_points, weekday)
    if as_json:
        print(json.dumps({"points": best.points, "risk": best.risk}))
    else:
        print(f"points: [{', '.join(map(str, best.points))}]")
        print(f"worst-case risk {best.risk:.4g} B^2; write them as `design.points` of a blocked_switchback")


def _show(plan: "Plan", preflight: list[str]) -> None:
    from rich.console import Console

    from flipside.terminal.escape import say

    console = Console()
    experiment = plan.experiment
    console.print(
        f"[bold]{experiment.name}[/bold] version {experiment.version}: {experiment.design.kind}, "
        f"{len(plan.calendar.clusters)} clusters, {experiment.start} to {plan.calendar.days[-1]}, "
        f"m = {experiment.carryover_order}"
    )
    said = " (provisional: without the catalog's time zones and units, see --catalog)" if plan.provisional else ""
    console.print(f"design hash {plan.design_hash}{said}")
    for line in preflight:
        say(line)
    console.print(_calendar(plan.calendar, plan.delivered))
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


def _calendar(plan: "Calendar", delivered: "Delivered") -> "Table":
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

    from controller.definition.money import money

    exact = plan.propensity_draws is None
    said = "exact" if exact else f"from {plan.propensity_draws} draws"
    table = Table(title=f"balance: clean cluster-days of each arm by weekday; propensity in block 1, {said}")
    for column in ("arm", "price", "propensity", "Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"):
        table.add_column(column, justify="right")
    for k, arm in enumerate(plan.experiment.arms):
        rule = arm.price
        price = "list" if rule.percent is None else f"{rule.percent:+f} %"
        price = price if rule.absolute_minor is None else money(rule.absolute_minor, plan.experiment.currency)
        low, high = plan.propensity[k]
        chance = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f}-{high:.3f}"
        table.add_row(arm.name, price, chance, *map(str, plan.weekdays[k]))
    return table
