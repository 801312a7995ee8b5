"""Asking the system for something through its topics, and waiting for the log's answer."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from aiokafka import AIOKafkaProducer

from controller.codec import encode, read
from controller.errors import FlipsideError, UnreadableMessage
from controller.events import BlackoutSet, CatalogEntry, Refused, Registered, StopExperiment, Stopped
from controller.experiment import Experiment
from controller.topics import ASSIGNMENT_LOG, CATALOG, MAX_RECORD_BYTES
from controller.wire import Message
from flipside.reader import Reader
from streams.clock import WallClock
from streams.kafka import connection, reach_kafka, stop_client
from streams.parts import partition_of
from streams.settings import Settings

Answer = TypeVar("Answer", bound=Message)


class NoAnswer(FlipsideError):
    """No worker answered in time."""


class WasRefused(FlipsideError):
    """A worker refused; the message lists every broken rule."""


async def read_all(settings: Settings, topic: str) -> list[Message]:
    """Every message of a topic that is there now, in the order of its partitions."""
    await reach_kafka(settings)
    reader = Reader(settings, [topic])
    await reader.start()
    try:
        await reader.drain()
    finally:
        await reader.stop()
    return reader.messages


async def catalog(settings: Settings) -> dict[str, CatalogEntry]:
    """The latest entry of each unit on sale, as workers see them: owners may write it without headers."""
    await reach_kafka(settings)
    found: dict[str, CatalogEntry] = {}
    reader = Reader(settings, [CATALOG])
    await reader.start()
    try:
        ends = await reader.ends()
        while not await reader.reached(ends):
            for record in await reader.records(100):
                if record.value is None:
                    found.pop((record.key or b"").decode(errors="replace"), None)
                    continue
                # An entry that breaks the contract is a dead letter of the workers', and none of ours.
                with contextlib.suppress(UnreadableMessage):
                    entry = read(CatalogEntry, record.value)
                    found[entry.unit] = entry
    finally:
        await reader.stop()
    return found


async def registered(settings: Settings) -> dict[str, tuple[Registered, Stopped | None]]:
    """The last registration of each experiment, and whether it was stopped since."""
    found: dict[str, tuple[Registered, Stopped | None]] = {}
    for message in await read_all(settings, ASSIGNMENT_LOG):
        if isinstance(message, Registered):
            found[message.experiment.name] = (message, None)
        elif isinstance(message, Stopped) and message.experiment in found:
            found[message.experiment] = (found[message.experiment][0], message)
    return found


async def ask(
    settings: Settings,
    topic: str,
    message: Message | None,
    key: str,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """Publish a request (None is a tombstone) and wait for its answer in the log.

    Raises WasRefused with the reasons, or NoAnswer after ``timeout_seconds``.
    """
    await reach_kafka(settings)
    log = Reader(settings, [ASSIGNMENT_LOG])
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )
    await log.start()
    await producer.start()
    try:
        await log.drain()
        at = WallClock().now()
        record = None if message is None else encode(message, f"{key}/{at.isoformat()}", at)
        await producer.send_and_wait(
            settings.prefixed(topic),
            key=key.encode(),
            value=None if record is None else record.value,
            headers=[] if record is None else record.headers,
            partition=partition_of(key.encode(), settings.partitions),
        )
        return await _answer(log, key, answers, timeout_seconds)
    finally:
        await stop_client(producer)
        await log.stop()


async def _answer(log: Reader, key: str, answers: Callable[[Message], Answer | None], timeout_seconds: float) -> Answer:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for message in await log.poll(100):
            if isinstance(message, Refused) and message.subject == key:
                raise WasRefused("refused, nothing has changed:\n" + "\n".join(message.problems))
            answer = answers(message)
            if answer is not None:
                return answer
        await asyncio.sleep(0)
    raise NoAnswer(
        f"no worker answered within {timeout_seconds:.0f} s; the request is kept, and is carried out once one runs"
    )


def registration_of(experiment: Experiment) -> Callable[[Message], Registered | None]:
    """Recognises the answer to a submission."""
    return lambda m: m if isinstance(m, Registered) and m.experiment.name == experiment.name else None


def stop_of(request: StopExperiment) -> Callable[[Message], Stopped | None]:
    """Recognises the answer to a stop."""
    return lambda m: m if isinstance(m, Stopped) and m.experiment == request.experiment else None


def recording_of(blackout_id: str, removed: bool) -> Callable[[Message], BlackoutSet | None]:
    """Recognises the answer to a blackout that was added or removed."""
    return lambda m: m if isinstance(m, BlackoutSet) and m.blackout == blackout_id and m.removed == removed else None
