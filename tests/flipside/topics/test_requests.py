"""A person's request: published before anything of the log is read, and given up where no server is there."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer

from controller.messages.control import Kill
from controller.messages.topics import ASSIGNMENT_LOG, BLACKOUT, DEFINITION
from flipside.commands.options import PERSON_WAITS_SECONDS, settings_from, settings_of_service
from flipside.topics import requests
from flipside.topics.reader import Reader
from streams.embedded.servers import embedded_broker
from streams.kafka.connection import reach_kafka
from streams.kafka.topics import create_topics
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from tests.parts.kafka import Kafka
from tests.parts.ports import free_port
from tests.parts.shared_kafka import SharedKafka

#: of records that were in the log before, which do not compress
LOG_RECORDS, RECORD_BYTES = 4_000, 1_000
#: what layout, offsets, a request and its answer come to, with room to spare
FEW_BYTES = 400_000


@dataclass
class Gauge:
    """Forwards a port, and counts what comes back."""

    bytes_read: int = 0

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counts: bool) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    self.bytes_read += len(data) * counts
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def counted(port: int, behind: int) -> AsyncIterator[Gauge]:
    gauge, under_way = Gauge(), set[asyncio.Task[None] | None]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        far_reader, far = await asyncio.open_connection("127.0.0.1", behind)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(gauge.pump(reader, far, False), gauge.pump(far_reader, writer, True))

    async with await asyncio.start_server(accept, "127.0.0.1", port):
        yield gauge
        for task in filter(None, under_way):
            task.cancel()
        await asyncio.gather(*filter(None, under_way), return_exceptions=True)


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """Address of an embedded broker without topics."""
    with embedded_broker({}) as address:
        yield address


async def requested(settings: Settings, topic: str) -> list[object]:
    reader = Reader(settings, [topic])
    await reader.start()
    try:
        await reader.drain()
    finally:
        await reader.stop()
    return [*reader.messages, *reader.others]


@pytest.mark.broker
async def test_a_request_is_published_without_a_record_of_the_log_before_it_being_read() -> None:
    with Kafka(doors=["COUNTED"]) as kafka:
        direct = Settings(kafka=kafka.address)
        await create_topics(direct)
        producer = Producer({"bootstrap.servers": kafka.address})
        for number in range(LOG_RECORDS):
            producer.produce(direct.prefixed(ASSIGNMENT_LOG), os.urandom(RECORD_BYTES), partition=number % 4)
        assert producer.flush(60) == 0
        ((port, behind),) = kafka.door("COUNTED")
        async with counted(port, behind) as gauge:
            switch = Kill(
                id="all", scope="all", name="", lifted=False, who="a person", why="wrong prices",
                requested_at=WallClock().now(),
            )  # fmt: skip
            through = direct.model_copy(update={"kafka": f"127.0.0.1:{port}"})
            with pytest.raises(requests.NoAnswer, match="the request is kept"):
                await requests.ask(through, DEFINITION, switch, requests.kill_of(switch), 0.2)
            with pytest.raises(requests.NoAnswer):
                await requests.remove(through, BLACKOUT, "x", requests.recording_of("x", removed=True), 0.2)
            assert gauge.bytes_read < FEW_BYTES, "the log was read before the request was sent"
        assert await requested(direct, DEFINITION) == [switch]


@pytest.mark.broker
async def test_an_answer_that_comes_with_the_next_record_is_found(kafka: SharedKafka, namespace: str) -> None:
    settings = Settings(kafka=kafka.address, namespace=namespace)
    await create_topics(settings)
    switch = Kill(
        id="all", scope="all", name="", lifted=False, who="a person", why="x", requested_at=WallClock().now()
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": kafka.address, "linger.ms": 0})

    async def answer() -> None:
        requests = Reader(settings, [DEFINITION])
        await requests.start()
        try:
            while not (records := await requests.records(50)):
                pass
        finally:
            await requests.stop()
        producer.produce(settings.prefixed(ASSIGNMENT_LOG), records[0].value, headers=list(records[0].headers))
        assert await asyncio.to_thread(producer.flush, 10) == 0

    worker = asyncio.create_task(answer())
    assert await requests.ask(settings, DEFINITION, switch, requests.kill_of(switch), 30.0) == switch
    await worker


async def test_a_broker_that_hangs_does_not_hold_up_those_that_answer(mock_broker: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = Settings(kafka=f"{hanging},{mock_broker}", connect_timeout_seconds=0)
        # The silent one would take the whole attempt; what comes after asks only the one that answered.
        assert (await reach_kafka(settings)).kafka == mock_broker


def test_a_person_waits_at_most_ten_seconds_and_a_service_as_long_as_it_is_set() -> None:
    assert settings_from().connect_timeout_seconds == PERSON_WAITS_SECONDS < 10
    assert settings_of_service().connect_timeout_seconds == 60
    assert settings_from(connect_timeout_seconds=2.0).connect_timeout_seconds == 2
    assert settings_from(connect_timeout_seconds=300.0).connect_timeout_seconds == PERSON_WAITS_SECONDS
    assert settings_of_service(connect_timeout_seconds=300.0).connect_timeout_seconds == 300


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (["experiment", "kill", "--all", "--reason", "x", "--kafka"], "FLIPSIDE_KAFKA (--kafka)"),
        (["blackout", "list", "--redis"], "FLIPSIDE_REDIS (--redis)"),
    ],
)
def test_a_server_that_is_not_there_is_named_with_its_setting_and_exit_code_5(command: list[str], setting: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    given = f"redis://{address}/0" if "--redis" in command else address
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flipside", *command, given], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert address in done.stderr
    assert setting in done.stderr
    # What it tried is no data.
    assert done.stdout == ""
    # A wait that was asked for, not a measurement of speed: sixty seconds of trying have become ten.
    assert time.monotonic() - started < 2 * PERSON_WAITS_SECONDS
