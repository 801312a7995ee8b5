"""`flipside experiment`: validate, submit, list, show."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.design import PublishedGraph
from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for a worker's answer.")]


def validate(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/designs.")],
    catalog: Annotated[
        Path | None,
        typer.Option("--catalog", help="Catalog entries, one JSON object a line: units are looked up there."),
    ] = None,
    graph: PublishedGraph = None,
    as_json: AsJson = False,
) -> None:
    """Check a definition without submitting it. Every broken rule is named (exit code 3).

    Start and other experiments are checked when it is submitted; prices and units too, unless a catalog is given.
    """
    import json

    from controller.definition.experiment import design_hash
    from controller.errors import InvalidExperiment
    from controller.messages.inputs import CatalogEntry
    from flipside.commands.design import read_graphs
    from flipside.documents import read_experiment, read_lines
    from flipside.places import placed
    from flipside.plan import checked

    entries = None if catalog is None else {entry.unit: entry for entry in read_lines(catalog, CatalogEntry)}
    try:
        asked = read_experiment(file)
        experiment = checked(asked, entries, None, read_graphs(asked, graph, None, None))
    except InvalidExperiment as error:
        raise InvalidExperiment(placed(error.problems, file)) from error
    if as_json:
        print(json.dumps({"experiment": experiment.name, "valid": True, "design_hash": design_hash(experiment)}))
    else:
        print(f"{experiment.name} version {experiment.version} keeps every rule that can be checked here")
        rest = "whether the start lies ahead, and whether another experiment has its units"
        print(f"left to `submit`: {rest}" if entries else f"left to `submit`, or to --catalog: units, prices; {rest}")


def submit(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors: then nothing is registered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register an experiment. Every broken rule is named, and then nothing changes (exit code 3).

    The answer has the units, prices and warnings that `flipside design` shows, by the catalog that is published now.
    """
    import asyncio
    import json

    from controller.decisions.lifecycle import OVER
    from controller.errors import InvalidExperiment
    from controller.messages.topics import DEFINITION
    from controller.schedule.preflight import as_object, preview
    from controller.validation.graph_clusters import cut_of
    from controller.validation.preflight_warnings import warnings
    from controller.validation.registration import register
    from flipside.documents import read_experiment
    from flipside.places import placed
    from flipside.terminal.escape import say
    from flipside.terminal.preflight_output import lines
    from flipside.topics import graphs, registered, requests
    from streams.runtime.clock import WallClock

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def work() -> None:
        experiment = read_experiment(file)
        held, _ = await registered.known(settings)
        now = WallClock().now()
        others = [one.registered.experiment for one in held.values() if one.life(now).state not in OVER]
        catalog = await registered.catalog(settings)
        published = None if experiment.clusters_from is None else await graphs.read(settings)
        try:
            resolved = register(experiment, catalog, others, now, published)
        except InvalidExperiment as error:
            raise InvalidExperiment(placed(error.problems, file)) from error
        cut = cut_of(resolved, published)
        cautions = placed(warnings(experiment, resolved, catalog, cut=cut), file)
        if strict and cautions:
            raise InvalidExperiment(cautions)
        answer = await requests.ask(settings, DEFINITION, resolved, requests.registration_of(resolved), timeout)
        shown = preview(resolved, catalog, cautions, cut=cut)
        if as_json:
            body = {"experiment": resolved.name, "design_hash": answer.design_hash, "preview": as_object(shown)}
            print(json.dumps(body))
            return
        say(f"{resolved.name} version {resolved.version} is registered; design hash {answer.design_hash}")
        for line in lines(shown):
            say(line)

    asyncio.run(work())


def list_experiments(
    kafka: Kafka = None,
    namespace: Namespace = None,
    long: Annotated[
        bool, typer.Option("--long", help="With units, prices and warnings of each, by the catalog as it is now.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """All registered experiments, the state of each, and why it is not (or no longer) drawn.

    States: scheduled (its first day has not come), running, paused, stopping (over, still measured), stopped, archived.
    """
    import asyncio
    import json

    from controller.decisions.kill_switches import concerns, killed
    from controller.messages.control import Kill
    from controller.messages.inputs import CatalogEntry
    from controller.schedule.preflight import Preview, as_object, preview
    from controller.validation.preflight_warnings import warnings
    from flipside.terminal.escape import say
    from flipside.terminal.preflight_output import lines
    from flipside.terminal.record_list import print_records
    from flipside.topics import registered
    from streams.runtime.clock import WallClock

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def read() -> tuple[dict[str, registered.Known], dict[str, Kill], dict[str, CatalogEntry]]:
        return *await registered.known(settings), await registered.catalog(settings) if long else {}

    held, kills, catalog = asyncio.run(read())
    aside = asyncio.run(registered.suspended(settings))
    now = WallClock().now()
    rows: list[dict[str, object]] = []
    previews: dict[str, Preview] = {}
    for name, one in sorted(held.items()):
        experiment, life = one.registered.experiment, one.life(now)
        markets = [market for market in experiment.units_by_market() if killed(kills.values(), name, market)]
        last = life.history[-1] if life.history else None
        rows.append(
            {
                "experiment": name,
                "version": experiment.version,
                "state": life.state,
                "frozen": life.frozen,
                "killed_markets": markets,
                "suspended_markets": sorted({s.market for s in aside if concerns(s, experiment)}),
                "design": experiment.design.kind,
                "start": str(experiment.start),
                "end": str(experiment.end),
                "units": len(experiment.units),
                "why": None if last is None else f"{last.action} by {last.who}: {last.why}",
                "design_hash": one.registered.design_hash,
            }
        )
        if long:
            previews[name] = preview(experiment, catalog, warnings(experiment, experiment, catalog))
            rows[-1]["preview"] = as_object(previews[name])
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("no experiment is registered; `flipside experiment submit FILE` registers one")
        return
    names = ("experiment", "version", "state", "design", "first day", "back to control", "units", "last change")
    shown_rows = []
    for row in rows:
        killed_in = row["killed_markets"]
        said = [str(row["state"])] + ["frozen"] * bool(row["frozen"])
        suspended_in = row["suspended_markets"]
        said += [f"set aside in {', '.join(suspended_in)}"] if isinstance(suspended_in, list) and suspended_in else []
        said += [f"killed in {', '.join(killed_in)}"] if isinstance(killed_in, list) and killed_in else []
        columns = ("design", "start", "end", "units", "why")
        shown = ("" if row[c] is None else str(row[c]) for c in columns)
        shown_rows.append((row["experiment"], row["version"], ", ".join(said), *shown))
    print_records(names, shown_rows)
    for name, found in previews.items():
        say(f"\n{name}")
        for line in lines(found):
            say(line)


def suspended(kafka: Kafka = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """Markets, or one experiment in them, that a worker has suspended because of an unforeseen error.

    Their units are on control. A restart of the worker tries them again. What the analysis has set aside is in
    `flipside estimates`: a number that is absent, with the reason.
    """
    import asyncio
    import json

    from flipside.terminal.record_list import print_records
    from flipside.topics import registered

    found = asyncio.run(registered.suspended(settings_from(kafka=kafka, namespace=namespace)))
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    if not found:
        print("no market is set aside")
        return
    names = ("market", "experiment", "duty", "place", "error", "since", "worker")
    print_records(
        names,
        [(o.market, o.experiment or "all", o.duty, o.place, o.error, o.set_aside_at, o.worker) for o in found],
    )


def show(
    name: Annotated[str, typer.Argument(help="Name of a registered experiment.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
) -> None:
    """The definition of an experiment as it was published, with its hash: what `flipside verify` takes."""
    import asyncio

    from flipside.terminal.escape import say
    from flipside.topics import registered

    held, _ = asyncio.run(registered.known(settings_from(kafka=kafka, namespace=namespace)))
    say(registered.one_of(held, name).registered.model_dump_json(indent=2))


VERBS: dict[str, Callable[..., None]] = {
    "validate": validate,
    "submit": submit,
    "list": list_experiments,
    "suspended": suspended,
    "show": show,
}
