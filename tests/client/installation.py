"""The topics of a pricing system on a real broker, and somebody who writes to them as a worker does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaProducer

from controller.messages.codec import announce_by, encode
from controller.messages.events import Assignment
from controller.messages.topics import APPLIED, ASSIGNMENT, TOPICS
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings

Publish = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Announced:
    """An assignment that says by when the brokers must have it."""

    assignment: Assignment
    by: datetime


@asynccontextmanager
async def installation(address: str, namespace: str) -> AsyncIterator[Publish]:
    """The two topics of a pricing system, and a way to write to the first as a worker does."""
    settings = Settings(kafka=address, namespace=namespace)
    await create_topics(settings, [TOPICS[ASSIGNMENT], TOPICS[APPLIED]])
    producer = AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True, linger_ms=5)
    await producer.start()

    async def publish(*messages: Assignment | Announced | tuple[bytes | None, bytes | None]) -> None:
        for message in messages:
            if isinstance(message, Assignment | Announced):
                said = message.assignment if isinstance(message, Announced) else message
                record = encode(said, said.id, said.decided_at)
                by = [announce_by(message.by)] if isinstance(message, Announced) else []
                await producer.send_and_wait(
                    settings.prefixed(ASSIGNMENT), key=record.key, value=record.value, headers=[*record.headers, *by]
                )
            else:
                await producer.send_and_wait(settings.prefixed(ASSIGNMENT), key=message[0], value=message[1])

    try:
        yield publish
    finally:
        await producer.stop()
