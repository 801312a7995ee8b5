"""The published graphs of substitutes, read from their compacted topic when one is asked for."""

from controller.errors import FlipsideError
from controller.messages.graph_records import take_records
from controller.messages.graphs import PublishedGraphs
from controller.messages.topics import GRAPH
from streams.kafka.connection import connection, stop_client
from streams.kafka.reading import begin, partitions_of, read_up_to, reader
from streams.runtime.settings import Settings


async def published_graphs(settings: Settings, *, pairs: bool = True) -> PublishedGraphs:
    """Every version that is published now; without ``pairs`` their clusters alone.

    Raises FlipsideError where the brokers have no such topic.
    """
    graphs, name = PublishedGraphs(), settings.prefixed(GRAPH)
    consumer = reader(connection(settings), settings)
    await consumer.start()
    try:
        if name not in await consumer.topics():
            raise FlipsideError(f"the brokers at {settings.kafka} have no topic {name}; run `flipside topics create`")
        places = partitions_of(name, settings)
        await begin(consumer, places)
        async for batches in read_up_to(consumer, await consumer.end_offsets(places)):
            for records in batches.values():
                take_records(graphs, records, pairs=pairs)
    finally:
        await stop_client(consumer)
    return graphs
