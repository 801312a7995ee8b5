"""What an experiment came to: read off the topics or out of a folder, written to a folder, told as a page."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.errors import FlipsideError
from controller.messages.topics import ASSIGNMENT_LOG, ESTIMATE, HEALTH, PANEL, SEQUENCE
from streams.runtime.settings import Settings, cache_folder

if TYPE_CHECKING:
    from analysis.export.schemas import Tables
    from controller.definition.field_types import Message
    from flipside.replay.progress import Result

#: where the analyst's tables come from
SOURCES = (ASSIGNMENT_LOG, PANEL, ESTIMATE, SEQUENCE, HEALTH)
FINDINGS = (ESTIMATE, SEQUENCE, HEALTH)
REPORT = "report.html"


async def read_topics(
    settings: Settings, topics: tuple[str, ...] = SOURCES, on_read: Callable[[int], None] = lambda count: None
) -> "list[Message]":
    """All records of topics now, each topic in order; ``on_read`` is called with the number of records read.

    Raises:
        CannotReach: Kafka does not answer.
    """
    # Kafka's client is not loaded where a folder is read.
    from flipside.topics.reader import Reader
    from streams.kafka.connection import reach_kafka

    await reach_kafka(settings)
    messages: list[Message] = []
    for topic in topics:
        reader = Reader(settings, [topic])
        await reader.start()
        try:
            ends = await reader.ends()
            while not await reader.reached(ends):
                on_read(len(await reader.poll(100)))
        finally:
            await reader.stop()
        messages += reader.messages
    return messages


def tables_from_topics(
    settings: Settings, topics: tuple[str, ...] = SOURCES, on_read: Callable[[int], None] = lambda count: None
) -> "Tables":
    """The analyst's tables as the topics have them now."""
    from analysis.export.tables import tables_of

    return tables_of(asyncio.run(read_topics(settings, topics, on_read)))


def tables_from_folder(folder: Path, experiment: str | None) -> tuple["Tables", str]:
    """One experiment's tables from an export, and its name; the only one where none is named.

    Raises:
        UnreadableExport: the folder is no export, has no such experiment, or has several and none is named.
    """
    from analysis.export.folder import UnreadableExport, experiments, read
    from analysis.export.schemas import TABLES

    if experiment is None:
        found = experiments(folder)
        if len(found) > 1:
            raise UnreadableExport(f"{folder} has {len(found)} experiments: name one of {', '.join(found)}")
        experiment = found[0] if found else None
    tables = {name: read(name, folder, experiment) for name in TABLES}
    return tables, experiment or ""


def write_outcome(result: "Result", folder: Path) -> Path:
    """Write what a replay or demo came to: tables as Parquet, and the page; returns the page's path."""
    from analysis.export.folder import write
    from analysis.export.tables import tables_of

    tables = tables_of(result.messages, result.truth)
    write(tables, folder, anew=True)
    return write_report(tables, result.experiment, folder / REPORT)


def write_report(tables: "Tables", experiment: str, path: Path, vega: Callable[[], str] | None = None) -> Path:
    """Write the page of an experiment, replacing an older one at once; raises FlipsideError where that cannot be."""
    from analysis.report.page import page
    from analysis.report.vega import bundled

    if vega is None:
        with bundled(cache_folder()) as vega:
            return write_report(tables, experiment, path, vega)
    text = page(tables, experiment, vega)
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise FlipsideError(f"cannot write {path}: {error.strerror or error}; name another file with --out") from error
    return path


def who_responds(tables: "Tables", experiment: str) -> list[dict[str, Any]]:
    """Of each metric and arm of an experiment: who responds, and which clusters carry its number; as JSON."""
    from analysis.report.page import of_experiment
    from analysis.report.responses import as_json

    found = of_experiment(tables, experiment).tables
    return as_json(found["responses"], found["influence"])


def must_be_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to before minutes are spent on what shall go there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise FlipsideError(f"cannot write to {folder}: {error.strerror or error}; name another folder") from error
