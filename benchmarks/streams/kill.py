"""How soon `flipside experiment kill` has its request in the topic, with a long assignment log: seconds from its start.

The log of a real broker is filled with a million assignments, compressed as workers write them. Then the command is
started as a person starts it, in a process of its own, ten times with a log of nothing and ten times with the long
one. This benchmark stands for the worker: it waits at the end of the definition topic, notes when the request is there,
and answers in the log; the command must end with 0. "Sent" is when the request has been read back from its topic, and
so an upper bound; it includes the start of Python and all that the command imports.

Run: python -m benchmarks.streams.kill [--records N] [--runs N] [--json] [--write FILE]. Starts a Kafka of its own.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as At

from benchmarks.streams.installation import machine
from benchmarks.streams.rebuild import History, assignments
from controller.definition.experiment import design_hash
from controller.messages.codec import encode
from controller.messages.topics import ASSIGNMENT_LOG, DEFINITION
from streams.kafka.partitioning import partition_of
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings, child_environment
from tests.parts.kafka import LONG_LIVED, Kafka

UNITS, MARKETS = 10_000, 20
#: from the start to the request, as promised
SENT_SECONDS = 0.5
PATIENCE_SECONDS = 120.0


def fill(settings: Settings, records: int) -> None:
    """Write assignments to the log, as workers do: by unit, compressed."""
    units = [f"store-{k % MARKETS}/product-{k // MARKETS}" for k in range(UNITS)]
    days = -(-records // UNITS) + 1
    history = History(units, days, "Europe/Berlin", date(2026, 1, 1) + timedelta(days=days))
    committed = design_hash(history.experiment)
    producer = Producer(
        {"bootstrap.servers": settings.kafka, "compression.type": "snappy", "linger.ms": 20, "batch.size": 256 * 1024}
    )
    for number, assignment in zip(range(records), assignments(history, committed, range(days)), strict=False):
        record = encode(assignment, assignment.id, assignment.decided_at)
        headers: list[Any] = list(record.headers)
        home = partition_of(record.key or b"", settings.partitions)
        producer.produce(settings.prefixed(ASSIGNMENT_LOG), record.value, record.key, home, headers=headers)
        if number % 5000 == 0:
            producer.flush(60)
    assert producer.flush(120) == 0


def held(settings: Settings, consumer: Consumer) -> int:
    """How many records the log holds."""
    places = [At(settings.prefixed(ASSIGNMENT_LOG), p) for p in range(settings.partitions)]
    while True:
        try:
            return sum(consumer.get_watermark_offsets(place, 30)[1] for place in places)
        except KafkaException:  # a topic that is new has no leader yet
            time.sleep(0.1)


def kill(settings: Settings, consumer: Consumer, producer: Producer) -> tuple[float, float]:
    """Seconds from the start of a command to its request, and to its end."""
    topic = settings.prefixed(DEFINITION)
    places = [At(topic, p) for p in range(settings.partitions)]
    consumer.assign([At(topic, at.partition, consumer.get_watermark_offsets(at, 30)[1]) for at in places])
    consumer.poll(0.2)  # the first fetch is on its way before the clock runs
    given = {"FLIPSIDE_KAFKA": settings.kafka, "FLIPSIDE_NAMESPACE": settings.namespace}
    command = [str(Path(sys.executable).with_name("flipside")), "experiment", "kill", "--all", "--reason", "benchmark"]
    began = time.monotonic()
    child = subprocess.Popen(command, env=child_environment(given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    request = None
    while request is None or request.error() is not None:
        request = consumer.poll(0.05)
        if time.monotonic() - began > PATIENCE_SECONDS or (request is None and child.poll()):
            child.kill()
            raise SystemExit(f"no request came: {child.communicate()[0].decode()}")
    sent = time.monotonic() - began
    headers = request.headers()
    producer.produce(settings.prefixed(ASSIGNMENT_LOG), request.value(), request.key(), 0, headers=headers)
    producer.flush(10)
    said = child.communicate(timeout=PATIENCE_SECONDS)[0].decode()
    if child.returncode:
        raise SystemExit(f"the command ended with {child.returncode}: {said}")
    return sent, time.monotonic() - began


def rows(records: int, runs: int) -> Iterator[dict[str, Any]]:
    with Kafka(jvm=LONG_LIVED) as kafka:
        settings = Settings(kafka=kafka.address, namespace="kill")
        asyncio.run(create_topics(settings))
        shared = {"bootstrap.servers": kafka.address}
        consumer = Consumer({**shared, "group.id": "benchmark", "fetch.wait.max.ms": 10})
        producer = Producer({**shared, "linger.ms": 0})
        for wanted in (0, records):
            fill(settings, wanted)
            there = held(settings, consumer)
            kill(settings, consumer, producer)  # the files of Python and of the broker are read once before
            found = [kill(settings, consumer, producer) for _ in range(runs)]
            sent, ended = zip(*found, strict=True)
            yield {
                "log_records": there,
                "runs": runs,
                "sent_median_seconds": round(statistics.median(sent), 3),
                "sent_worst_seconds": round(max(sent), 3),
                "ended_median_seconds": round(statistics.median(ended), 3),
            }
        consumer.close()


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| records in the log | request sent, median | worst | command ended, median |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['log_records']:,} | {r['sent_median_seconds']:.2f} s | {r['sent_worst_seconds']:.2f} s "
        f"| {r['ended_median_seconds']:.2f} s |"
        for r in found
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, show it; exit code 1 where a median is above the promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args(arguments)
    before = machine()
    found = list(rows(asked.records, asked.runs))
    shown = {"machine": before, "promise_seconds": SENT_SECONDS, "rows": found}
    if asked.write:
        asked.write.write_text(json.dumps(shown, indent=1) + "\n")
    print(json.dumps(shown) if asked.json else table(found))
    return int(any(row["sent_median_seconds"] > SENT_SECONDS for row in found))


if __name__ == "__main__":
    sys.exit(main())
