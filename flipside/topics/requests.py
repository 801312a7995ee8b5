"""Requests to the workers: published first, then answered in the assignment log.

A request does not wait for what the log held before it: an experiment that must be killed now would go on showing its
prices while a year of records is read. What a command has to look up beforehand it reads with
`flipside.topics.registered`. Little is imported here, because each module that is loaded delays the request.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from aiokafka import AIOKafkaProducer

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.codec import Record, encode, key_of
from controller.messages.control import Kill, LifecycleChanged, LifecycleRequest
from controller.messages.events import BlackoutSet, Refused, Registered
from controller.messages.topics import ASSIGNMENT_LOG, MAX_RECORD_BYTES
from flipside.topics.reader import Reader
from streams.kafka.connection import connection, reach_kafka, stop_client
from streams.kafka.partitioning import partition_of
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings

Answer = TypeVar("Answer", bound=Message)


class NoAnswer(FlipsideError):
    """No worker answered in time."""


class WasRefused(FlipsideError):
    """A worker refused; the message lists every broken rule."""


async def ask(
    settings: Settings,
    topic: str,
    message: Message,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """Publish a request and wait for its answer in the log.

    Raises WasRefused with the reasons, or NoAnswer after ``timeout_seconds``.
    """
    at, key = WallClock().now(), key_of(message)
    return await _ask(settings, topic, encode(message, f"{key}/{at.isoformat()}", at), answers, timeout_seconds)


async def remove(
    settings: Settings,
    topic: str,
    key: str,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """Publish a tombstone and wait for its answer in the log; raises as `ask` does."""
    return await _ask(settings, topic, Record(key.encode(), None, []), answers, timeout_seconds)


async def _ask(
    settings: Settings,
    topic: str,
    record: Record,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """1. note where the log ends, 2. publish the request, 3. read the log from there on, until the answer comes."""
    settings = await reach_kafka(settings)
    log = Reader(settings, [ASSIGNMENT_LOG])
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(log.stop)
        stack.push_async_callback(stop_client, producer)
        # 1.
        await asyncio.gather(log.start_at_end(), producer.start())
        # 2.
        name = settings.prefixed(topic)
        where = partition_of(record.key or b"", settings.partitions)
        sent = await producer.send_and_wait(
            name, key=record.key, value=record.value, headers=record.headers, partition=where
        )
        # 3.
        return await _answer(log, f"{name}/{sent.partition}/{sent.offset}", answers, timeout_seconds)


async def _answer(
    log: Reader, request: str, answers: Callable[[Message], Answer | None], timeout_seconds: float
) -> Answer:
    """The answer to a request, which a refusal names by its place: topic/partition/offset."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for message in await log.poll(100):
            if isinstance(message, Refused) and message.id == request:
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


def change_of(request: LifecycleRequest) -> Callable[[Message], LifecycleChanged | None]:
    """Recognises the answer to a change of an experiment's life."""
    return lambda m: m if isinstance(m, LifecycleChanged) and m.id == request.id else None


def kill_of(kill: Kill) -> Callable[[Message], Kill | None]:
    """Recognises the answer to a kill switch."""
    return lambda m: m if isinstance(m, Kill) and m == kill else None


def recording_of(blackout_id: str, removed: bool) -> Callable[[Message], BlackoutSet | None]:
    """Recognises the answer to a blackout that was added or removed."""
    return lambda m: m if isinstance(m, BlackoutSet) and m.blackout == blackout_id and m.removed == removed else None
