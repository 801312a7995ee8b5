"""`flipside experiment`: submit, stop, list, show."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for a worker's answer.")]


def validate(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/designs.")],
    catalog: Annotated[
        Path | None,
        typer.Option("--catalog", help="Catalog entries, one JSON object a line: units are looked up there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a definition without submitting it. Every broken rule is named (exit code 3).

    Start and other experiments are checked when it is submitted; prices and units too, unless a catalog is given.
    """
    import json

    from controller.errors import InvalidExperiment
    from controller.events import CatalogEntry
    from controller.experiment import design_hash
    from controller.rules import catalog_problems
    from flipside.documents import read_experiment, read_lines
    from flipside.plan import checked

    entries = {} if catalog is None else {entry.unit: entry for entry in read_lines(catalog, CatalogEntry)}
    experiment = checked(read_experiment(file), entries)
    problems = tuple(catalog_problems(experiment, entries)) if entries else ()
    if problems:
        raise InvalidExperiment(problems)
    if as_json:
        print(json.dumps({"experiment": experiment.name, "valid": True, "design_hash": design_hash(experiment)}))
    else:
        print(f"{experiment.name} version {experiment.version} keeps every rule that can be checked here")


def submit(
    file: Annotated[Path, typer.Argument(help="Definition as YAML or JSON; see examples/.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
    as_json: AsJson = False,
) -> None:
    """Register an experiment. Every broken rule is named, and then nothing changes (exit code 3)."""
    import asyncio
    import json

    from controller.registration import register
    from controller.topics import DEFINITION
    from flipside import asking
    from flipside.documents import read_experiment
    from streams.clock import WallClock

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def work() -> None:
        experiment = read_experiment(file)
        held = await asking.registered(settings)
        others = [r.experiment for r, stopped in held.values() if stopped is None]
        now = WallClock().now()
        resolved = register(experiment, await asking.catalog(settings), others, now)
        answer = await asking.ask(
            settings, DEFINITION, resolved, resolved.name, asking.registration_of(resolved), timeout
        )
        if as_json:
            print(json.dumps({"experiment": resolved.name, "design_hash": answer.design_hash}))
        else:
            print(f"{resolved.name} version {resolved.version} is registered; design hash {answer.design_hash}")

    asyncio.run(work())


def stop(
    name: Annotated[str, typer.Argument(help="Name of a registered experiment.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the log.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
) -> None:
    """End an experiment: its units go back to control at the next day boundary that is not yet decided."""
    import asyncio

    from controller.events import StopExperiment
    from controller.topics import DEFINITION
    from flipside import asking
    from streams.clock import WallClock

    settings = settings_from(kafka=kafka, namespace=namespace)
    request = StopExperiment(experiment=name, reason=reason, requested_at=WallClock().now())
    asyncio.run(asking.ask(settings, DEFINITION, request, name, asking.stop_of(request), timeout))
    print(f"{name} is stopped: {reason}")


def list_experiments(kafka: Kafka = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """All registered experiments."""
    import asyncio
    import json

    from rich.console import Console
    from rich.table import Table

    from flipside import asking

    held = asyncio.run(asking.registered(settings_from(kafka=kafka, namespace=namespace)))
    rows = [
        {
            "experiment": name,
            "version": r.experiment.version,
            "design": r.experiment.design.kind,
            "start": str(r.experiment.start),
            "end": str(r.experiment.end),
            "units": len(r.experiment.units),
            "stopped": None if stopped is None else stopped.reason,
            "design_hash": r.design_hash,
        }
        for name, (r, stopped) in sorted(held.items())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("experiment", "version", "design", "first day", "back to control", "units", "stopped", "design hash")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


def show(
    name: Annotated[str, typer.Argument(help="Name of a registered experiment.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
) -> None:
    """The definition of an experiment as it was published, with its hash."""
    import asyncio

    from controller.errors import FlipsideError
    from flipside import asking

    held = asyncio.run(asking.registered(settings_from(kafka=kafka, namespace=namespace)))
    if name not in held:
        raise FlipsideError(f"{name} is not registered; `flipside experiment list` names all")
    print(held[name][0].model_dump_json(indent=2))


VERBS: dict[str, Callable[..., None]] = {
    "validate": validate,
    "submit": submit,
    "stop": stop,
    "list": list_experiments,
    "show": show,
}
