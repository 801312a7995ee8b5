"""`flipside rebuild`: have the workers fold log and inputs into Redis again."""

from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, Redis, settings_from


def rebuild(
    shard: Annotated[list[int] | None, typer.Option("--shard", help="Only this shard; may be repeated.")] = None,
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Only what was counted from sales and rivals' prices.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the workers.")] = 600.0,
    kafka: Kafka = None,
    redis: Redis = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Drop what Redis holds and have the running workers rebuild it from assignment log, panel and inputs.

    They do so by themselves where Redis is empty or older than the log; by hand it is for what `flipside verify
    --state` names. Nothing is decided meanwhile; what is published stays valid until its leases end.
    """
    import asyncio
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from controller.errors import FlipsideError
    from flipside.topics import rebuild_requests

    settings = settings_from(kafka=kafka, redis=redis, namespace=namespace)
    unknown = [number for number in shard or () if not 0 <= number < settings.partitions]
    if unknown:
        raise FlipsideError(f"--shard {unknown[0]}: shards are 0 to {settings.partitions - 1} (FLIPSIDE_PARTITIONS)")
    every = range(settings.partitions)
    shards = shard or ([] if inputs else list(every))
    counted = [(topic, p) for topic in rebuild_requests.INPUTS for p in every] if inputs or not shard else []
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(shards) + len(counted))
        done = asyncio.run(
            rebuild_requests.rebuild(
                settings, shards, counted, timeout, lambda done, of: bar.update(task, completed=done, total=of)
            )
        )
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(f"{len(done.shards)} shards and {len(done.inputs)} inputs rebuilt in {done.seconds:.1f} s")
