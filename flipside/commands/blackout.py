"""`flipside blackout`: add, remove, list."""

from collections.abc import Callable
from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, Redis, settings_from

Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for a worker's answer.")]


def add(
    name: Annotated[str, typer.Argument(help="Id of the window; adding it again replaces it.")],
    starts: Annotated[str, typer.Option(help="First instant, with its zone: 2026-12-24T00:00:00-06:00.")],
    ends: Annotated[str, typer.Option(help="First instant after it.")],
    reason: Annotated[str, typer.Option(help="Why; it is published with every flip that it stops.")],
    market: Annotated[str, typer.Option(help="Only this market.")] = "",
    cluster: Annotated[str, typer.Option(help="Only this cluster.")] = "",
    unit: Annotated[str, typer.Option(help="Only this unit, market/product.")] = "",
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
) -> None:
    """No price in the window's scope may change while it lasts; without market, cluster or unit it binds all.

    Every broken rule is named, and then nothing changes (exit code 3).
    """
    import asyncio
    import json

    from controller.errors import FlipsideError
    from controller.messages.topics import BLACKOUT
    from controller.validation.blackout_rules import parse_blackout
    from flipside.topics import requests

    given = [(kind, value) for kind, value in (("market", market), ("cluster", cluster), ("unit", unit)) if value]
    if len(given) > 1:
        raise FlipsideError("a blackout has one scope: give market, cluster or unit, or none of them for all")
    kind, value = given[0] if given else ("global", "")
    scope = {"kind": kind, "name": value}
    body = {"id": name, "scope": scope, "starts_at": starts, "ends_at": ends, "reason": reason}
    window = parse_blackout(json.dumps(body))
    settings = settings_from(kafka=kafka, namespace=namespace)
    asyncio.run(requests.ask(settings, BLACKOUT, window, requests.recording_of(name, removed=False), timeout))
    print(f"{name} binds from {window.starts_at} to {window.ends_at}")


def remove(
    name: Annotated[str, typer.Argument(help="Id of the window.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
) -> None:
    """Lift a blackout."""
    import asyncio

    from controller.messages.topics import BLACKOUT
    from flipside.terminal.escape import say
    from flipside.topics import requests

    settings = settings_from(kafka=kafka, namespace=namespace)
    asyncio.run(requests.remove(settings, BLACKOUT, name, requests.recording_of(name, removed=True), timeout))
    say(f"{name} is lifted")


def list_blackouts(redis: Redis = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """The windows that are stored, past ones too."""
    import asyncio
    import json

    from flipside.terminal.record_list import print_records
    from streams.store.redis.store import RedisStore

    settings = settings_from(redis=redis, namespace=namespace)

    async def work() -> list[dict[str, object]]:
        store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
        try:
            await store.reach(settings.connect_timeout_seconds)
            held = await store.blackouts(0)
        finally:
            await store.close()
        return [b.model_dump(mode="json") for _, b in sorted(held.items())]

    rows = asyncio.run(work())
    if as_json:
        print(json.dumps(rows))
        return
    lines = []
    for row in rows:
        scope = row["scope"]
        assert isinstance(scope, dict)
        covers = f"{scope['kind']} {scope['name']}".strip()
        lines.append((row["id"], covers, row["starts_at"], row["ends_at"], row["reason"]))
    print_records(("window", "scope", "from", "to", "reason"), lines)


VERBS: dict[str, Callable[..., None]] = {"add": add, "remove": remove, "list": list_blackouts}
