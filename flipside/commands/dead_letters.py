"""`flipside dead-letters`: list, show, redrive."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipside.commands.options import AsJson, Kafka, Namespace, settings_from

if TYPE_CHECKING:
    from flipside.topics.dead_letters import Kept, Wanted

Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only this reason code, such as unreadable; may be repeated.")
]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Only what came from this topic; may be repeated.")]
Since = Annotated[str, typer.Option(help="Only from this instant on, with its zone: 2026-12-24T00:00:00Z.")]
Until = Annotated[str, typer.Option(help="Only before this instant.")]
#: how much of a value is shown in a list
PREVIEW = 60


def _wanted(
    ids: Sequence[str], reasons: Sequence[str] | None, topics: Sequence[str] | None, since: str, until: str
) -> "Wanted":
    from flipside.topics.dead_letters import Wanted

    return Wanted(
        frozenset(ids),
        frozenset(reasons or ()),
        frozenset(topics or ()),
        _instant(since) if since else None,
        _instant(until) if until else None,
    )


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no instant; write 2026-12-24T00:00:00Z") from error
    if instant.tzinfo is None:
        raise typer.BadParameter(f"{text} names no zone; write 2026-12-24T00:00:00Z")
    return instant


def _as_object(kept: "Kept") -> Mapping[str, Any]:
    found = kept.letter
    return {
        "id": found.id,
        "at": found.at.isoformat().replace("+00:00", "Z"),
        "reason_code": found.code,
        "reason": found.reason,
        "topic": found.topic,
        "partition": found.partition,
        "offset": found.offset,
        "key": None if found.key is None else found.key.decode(errors="replace"),
        "bytes": 0 if found.value is None else found.cut_from or len(found.value),
        "tombstone": found.value is None,
        "cut": found.cut_from is not None,
        "written": kept.times,
        "standing": kept.standing,
        "redrives": [{"by": r.by, "round": r.round, "sent": r.sent, "at": r.at} for r in kept.redrives],
    }


def show_list(
    reason: Reasons = None,
    topic: Topics = None,
    since: Since = "",
    until: Until = "",
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were never sent again.")] = False,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """List what was rejected, oldest first: when, why, where it came from, and whether it was sent again."""
    import asyncio
    import json
    from collections import Counter

    from flipside.terminal.escape import say
    from flipside.terminal.record_list import print_records
    from flipside.topics.dead_letters import read_letters

    wanted = _wanted((), reason, topic, since, until)
    every = asyncio.run(read_letters(settings_from(kafka=kafka, namespace=namespace)))
    found = [kept for kept in every if wanted.takes(kept) and (not dead or kept.standing == "dead")]
    if as_json:
        print(json.dumps([_as_object(kept) for kept in found]))
        return
    rows = []
    for kept in found:
        letter = kept.letter
        value = "(null)" if letter.value is None else letter.value[:PREVIEW].decode(errors="replace")
        key = "" if letter.key is None else letter.key.decode(errors="replace")
        rows.append((letter.id, f"{letter.at:%Y-%m-%d %H:%M:%S}", letter.code, key[:PREVIEW], value, kept.standing))
    if rows:
        print_records(("id", "when", "reason", "key", "value", "standing"), rows)
    counts = Counter(kept.letter.code for kept in found)
    by_reason = ", ".join(f"{code} {number}" for code, number in sorted(counts.items()))
    say(f"{len(found)} of {len(every)} dead letters{f': {by_reason}' if by_reason else ''}")


def show(
    id: Annotated[str, typer.Argument(help="Id of the letter: topic/partition/offset of the record.")],
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter whole: reason, origin, headers, and its value as it came."""
    import asyncio
    import base64
    import json

    from controller.errors import FlipsideError
    from flipside.terminal.escape import say
    from flipside.topics.dead_letters import read_letters

    every = asyncio.run(read_letters(settings_from(kafka=kafka, namespace=namespace)))
    kept = next((kept for kept in every if kept.letter.id == id), None)
    if kept is None:
        raise FlipsideError(f"no dead letter has the id {id}; `flipside dead-letters list` has all")
    letter = kept.letter
    headers = [
        (name.encode(errors="surrogateescape").decode(errors="backslashreplace"),
         None if value is None else value.decode(errors="backslashreplace"))
        for name, value in letter.headers
    ]  # fmt: skip
    if as_json:
        value = None if letter.value is None else base64.b64encode(letter.value).decode()
        print(json.dumps({**_as_object(kept), "headers": dict(headers), "value_base64": value}))
        return
    for name, said in _as_object(kept).items():
        say(f"{name:12} {said}")
    for name, said in headers:
        say(f"header       {name}: {'(null)' if said is None else said}")
    if letter.value is None:
        print("value        (null)")
    else:
        say(f"value\n{letter.value.decode(errors='backslashreplace')}")


def redrive(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of letters; without any, all that the filters take.")
    ] = None,
    reason: Reasons = None,
    topic: Topics = None,
    since: Since = "",
    until: Until = "",
    everything: Annotated[bool, typer.Option("--all", help="All that were never sent again.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were sent again before, or are in doubt.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many would be sent, and send none.")] = False,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again as they came: value, key and headers, to their topic; each once.

    First mend what they were rejected for. A letter that two people send at the same time is sent by one of them. One
    whose sender died half way is in doubt, and is sent only with --again; sales are compared by id, so that is safe.
    """
    import asyncio
    import getpass
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from controller.errors import FlipsideError
    from flipside.topics.dead_letters import read_letters
    from flipside.topics.dead_letters import redrive as send
    from streams.runtime.clock import WallClock

    wanted = _wanted(ids or (), reason, topic, since, until)
    if not (ids or reason or topic or since or until or everything):
        raise FlipsideError("which ones? name ids, or --reason, --topic, --since, --until, or --all")
    settings = settings_from(kafka=kafka, namespace=namespace)
    if dry_run:
        every = [kept for kept in asyncio.run(read_letters(settings)) if wanted.takes(kept)]
        ready = [k.letter.id for k in every if k.letter.cut_from is None and (again or k.standing == "dead")]
        print(json.dumps({"would_send": ready}) if as_json else f"{len(ready)} of {len(every)} would be sent again")
        return
    columns = (TextColumn("sending again"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        outcome = asyncio.run(
            send(
                settings,
                wanted,
                WallClock().now,
                again=again,
                who=getpass.getuser(),
                progress=lambda done, of: bar.update(task, completed=done, total=of),
            )
        )
    if as_json:
        print(json.dumps(asdict(outcome)))
        return
    print(f"{len(outcome.sent)} sent again")
    for ids_of, what in (
        (outcome.taken, "being sent by somebody else"),
        (outcome.passed_over, "sent before, or in doubt: --again sends them nevertheless"),
        (outcome.cut, "cut, because they were too long to keep: have the sender send them again"),
    ):
        if ids_of:
            print(f"{len(ids_of)} {what}")


VERBS: dict[str, Callable[..., None]] = {"list": show_list, "show": show, "redrive": redrive}
