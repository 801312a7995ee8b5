"""Graphs of substitutes on their topic: published part by part with the head at the end, removed head first."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiokafka import AIOKafkaProducer

from controller.errors import FlipsideError
from controller.messages.codec import TYPES, Record, encode
from controller.messages.graphs import GraphPart, GraphVersion, PublishedGraphs
from controller.messages.topics import GRAPH, MAX_RECORD_BYTES
from flipside.documents import read_log
from streams.kafka.connection import connection, reach_kafka, stop_client
from streams.kafka.graphs import published_graphs
from streams.kafka.partitioning import partition_of
from streams.runtime.settings import Settings


async def read(settings: Settings) -> PublishedGraphs:
    """Every version that is published now."""
    return await published_graphs(await reach_kafka(settings))


async def publish(settings: Settings, records: Sequence[GraphPart]) -> None:
    """Publish a version; its head only once the brokers have acknowledged all of its parts."""
    heads = [record for record in records if isinstance(record, GraphVersion)]
    parts = [record for record in records if not isinstance(record, GraphVersion)]
    await _send(settings, records_to_send(parts, heads), records_to_send(heads, heads))


async def remove(settings: Settings, graphs: PublishedGraphs, version: str) -> None:
    """Write tombstones: the head's first, so that nobody uses a part of the rest."""
    head, *parts = (Record(key.encode(), None, []) for key in graphs.keys(version))
    await _send(settings, [head], parts)


def records_to_send(parts: Iterable[GraphPart], heads: Sequence[GraphVersion]) -> list[Record]:
    """Records under the instant of their version's publication: the same bytes whenever it is published again."""
    at = {head.graph: head.published_at for head in heads}
    return [encode(part, f"{part.key}/{at[part.graph].isoformat()}", at[part.graph]) for part in parts]


def from_file(path: Path) -> PublishedGraphs:
    """The published form of graphs, as `flipside graph publish --out FILE` writes it."""
    graphs = PublishedGraphs()
    for record in parts_of(path):
        graphs.take(record.key, record)
    return graphs


def parts_of(path: Path) -> list[GraphPart]:
    """The records of such a file; raises FlipsideError for one that has others."""
    found: list[GraphPart] = []
    for message in read_log(path):
        if not isinstance(message, GraphPart):
            raise FlipsideError(
                f"{path} has a record of type {TYPES[type(message)]}; `flipside graph publish GRAPH --out FILE` writes"
                " the published form of a graph"
            )
        found.append(message)
    return found


def to_file(records: Iterable[GraphPart], path: Path) -> None:
    """Write the published form: an object with `type` and `value` a line."""
    lines = (f'{{"type": "{TYPES[type(one)]}", "value": {one.model_dump_json()}}}\n' for one in records)
    try:
        path.write_text("".join(lines))
    except OSError as error:
        raise FlipsideError(f"cannot write {path}: {error.strerror or error}; name another file") from error


async def _send(settings: Settings, *rounds: Sequence[Record]) -> None:
    """Each round is acknowledged before the next one is sent."""
    settings = await reach_kafka(settings)
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_client, producer)
        await producer.start()
        for records in rounds:
            sent = [
                await producer.send(
                    settings.prefixed(GRAPH), key=record.key, value=record.value, headers=record.headers,
                    partition=partition_of(record.key or b"", settings.partitions),
                )
                for record in records
            ]  # fmt: skip
            for future in sent:
                await future
