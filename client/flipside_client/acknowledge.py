"""Saying what price went live: events of the topic of applied prices, version 1."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from flipside_client.errors import KafkaUnreachable
from flipside_client.record import APPLIED_TOPIC, instant_ms, topic

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def applied_event(
    *, system: str, unit: str, arm: str, price_minor: int | None, applied_at: datetime | int, assignment: str | None
) -> dict[str, Any]:
    """The event, its id a hash of what it says: repeated, it is the same event."""
    at_ms = instant_ms(applied_at)
    said = json.dumps([system, unit, arm, price_minor, at_ms, assignment]).encode()
    instant = _EPOCH + timedelta(milliseconds=at_ms)
    return {
        "version": 1,
        "id": f"applied-{hashlib.sha256(said).hexdigest()[:32]}",
        "unit": unit,
        "arm": arm,
        "price_minor": price_minor,
        "applied_at": instant.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "assignment": assignment,
        "system": system,
    }


class Acknowledger:
    """Publishes applied events through an idempotent producer, which is connected when the first one is said."""

    def __init__(self, bootstrap: str, namespace: str, system: str, security: dict[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._topic = topic(APPLIED_TOPIC, namespace)
        self._system = system
        self._security = security
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self.acknowledged = 0

    async def say(
        self, *, unit: str, arm: str, price_minor: int | None, applied_at: datetime | int, assignment: str | None
    ) -> str:
        """Publish one event, wait for Kafka's acknowledgement (acks=all), return the event's id."""
        event = applied_event(
            system=self._system,
            unit=unit,
            arm=arm,
            price_minor=price_minor,
            applied_at=applied_at,
            assignment=assignment,
        )
        producer = await self._connected()
        value = json.dumps(event, separators=(",", ":")).encode()
        await producer.send_and_wait(self._topic, key=unit.encode(), value=value)
        self.acknowledged += 1
        return str(event["id"])

    async def _connected(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5, **self._security
                )
                try:
                    await producer.start()
                except KafkaError as error:
                    await producer.stop()
                    raise KafkaUnreachable(
                        f"Kafka at {self._bootstrap} takes no acknowledgement: {error}; try again, the id stays"
                    ) from error
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Send what is waiting, then disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
