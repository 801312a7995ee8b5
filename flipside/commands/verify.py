"""`flipside verify`: recompute every arm from the published definition, and list each difference from the log."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, Redis

#: exit code where the log is not what the definition leads to
DIFFERS = 7


def verify(
    definition: Annotated[
        Path | None,
        typer.Argument(help="What was published: the definition (YAML, JSON) or its `registered` record (JSON)."),
    ] = None,
    log: Annotated[
        str, typer.Option("--log", help="A file of records, one JSON object a line, or the name of the log's topic.")
    ] = "",
    state: Annotated[
        bool, typer.Option("--state", help="Compare log, compacted topic, panel and Redis instead.")
    ] = False,
    through: Annotated[
        str | None, typer.Option(help="The last local day that must be in the log (YYYY-MM-DD); default: its last day.")
    ] = None,
    allow_repeats: Annotated[
        bool,
        typer.Option("--allow-repeats", help="Exit 0 if the only difference is that an identical record occurs twice."),
    ] = False,
    kafka: Kafka = None,
    redis: Redis = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """List every altered, missing, doubled or unplanned record; exit code 7 where there is one.

    --log takes a file with what `kcat -J` prints, or with lines of `type` and `value`; or the topic itself, usually
    pricing.experiment.assignment-log.v1. A committed seed is taken from the log, and so are the pauses, stops and kills
    that put units on control. With --state nothing is recomputed: what is folded from the log must be what the topics
    and Redis hold, while workers run.
    """
    if state:
        _verify_state(kafka, redis, namespace, as_json)
        return
    if definition is None or not log:
        raise typer.BadParameter("give DEFINITION and --log, or --state")
    import asyncio
    import json
    from dataclasses import asdict
    from datetime import date

    from controller.decisions.verify import verify as differences
    from flipside.documents import read_log, read_registered
    from flipside.terminal.escape import say

    if Path(log).is_file():
        records = read_log(Path(log))
    else:
        from flipside.commands.options import settings_from
        from flipside.topics.registered import read_all

        records = asyncio.run(read_all(settings_from(kafka=kafka, namespace=namespace), log))
    registered = read_registered(definition, records)
    found = differences(registered, records, through=None if through is None else date.fromisoformat(through))
    guilty = [d for d in found if not (allow_repeats and d.harmless)]
    if as_json:
        listed = [{**asdict(d), "day": None if d.day is None else str(d.day)} for d in found]
        print(json.dumps({"experiment": registered.experiment.name, "differences": listed}))
    else:
        for difference in found:
            say(f"{difference}{' (harmless)' if difference.harmless else ''}")
        print(f"{registered.experiment.name}: {len(found)} differences in {len(records)} records")
    if guilty:
        raise typer.Exit(DIFFERS)


def _verify_state(kafka: str | None, redis: str | None, namespace: str | None, as_json: bool) -> None:
    import asyncio
    import json
    from dataclasses import asdict

    from flipside.checks.state_comparison import differences
    from flipside.commands.options import settings_from
    from flipside.terminal.escape import say

    settings = settings_from(kafka=kafka, redis=redis, namespace=namespace)
    found, records = asyncio.run(differences(settings))
    if as_json:
        print(json.dumps({"records": records, "differences": [asdict(difference) for difference in found]}))
    else:
        for difference in found:
            say(difference)
        print(f"{len(found)} differences; {records} records read")
    if found:
        raise typer.Exit(DIFFERS)
