"""Tills in a process of their own: sales that come late, twice, and sometimes as nonsense.

``python -m tests.chaos.shop.tills BOOTSTRAP NAMESPACE FILE SEED RATE TWICE UNIT...``: RATE sales a second, of which a
share
TWICE is sent a second time a moment later. What was acknowledged is one JSON object a line: ``{"id", "kind", "acked"}``
with kind sale, again, poison or stranger. SIGTERM ends it once everything sent is acknowledged.
"""

import asyncio
import json
import random
import signal
import sys
import time
from typing import TextIO

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.shop.pace import Opening

HOUR_MS = 3_600_000
POISON, STRANGER, LATE = 0.01, 0.005, 0.03
TOPIC = "pricing.sale.v1"


def spelled(t_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t_ms // 1000)) + f".{t_ms % 1000:03d}Z"


def event(chance: random.Random, number: int, now_ms: int, units: list[str]) -> tuple[str, str, str, bytes]:
    """Kind, id, key and value of the next record."""
    identity, unit, kind = f"till-{number}", chance.choice(units), "sale"
    dice = chance.random()
    if dice < POISON:
        return "poison", identity, unit, f'{{"version":1,"id":"{identity}","quantity":'.encode()
    if dice < POISON + STRANGER:
        kind, unit = "stranger", f"{unit.partition('/')[0]}/stranger"
    # Most come within the hour; a few after their day was closed.
    behind = chance.uniform(12, 36) if chance.random() < LATE else min(chance.expovariate(2.0), 1.5)
    sale = {
        "version": 1,
        "id": identity,
        "unit": unit,
        "occurred_at": spelled(now_ms - round(behind * HOUR_MS)),
        "quantity": chance.randint(1, 5),
        "price_minor": 1000,
        "currency": "EUR",
    }
    return kind, identity, unit, json.dumps(sale).encode()


class Tills:
    def __init__(self, producer: AIOKafkaProducer, topic: str, file: TextIO) -> None:
        self._producer = producer
        self._topic = topic
        self._file = file
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, kind: str, identity: str, key: str, value: bytes, delay: float) -> None:
        task = asyncio.create_task(self._send(kind, identity, key, value, delay))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, kind: str, identity: str, key: str, value: bytes, delay: float) -> None:
        await asyncio.sleep(delay)
        acked = True
        try:
            await self._producer.send_and_wait(self._topic, key=key.encode(), value=value)
        except KafkaError:
            acked = False
        self._file.write(json.dumps({"id": identity, "kind": kind, "acked": acked}) + "\n")

    async def settle(self) -> None:
        while self._sending:
            await asyncio.wait(self._sending)


async def main() -> None:
    bootstrap, namespace, path, seed, rate, twice, *units = sys.argv[1:]
    chance, pace, stop = random.Random(f"tills {seed}"), Opening.from_environment().pace(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    with open(path, "w", buffering=1) as file:
        tills, number = Tills(producer, f"{namespace}.{TOPIC}", file), 0
        started = time.monotonic()
        while not stop.is_set():
            while number < (time.monotonic() - started) * float(rate):
                number += 1
                kind, identity, key, value = event(chance, number, pace.now_ms(), units)
                delay = chance.expovariate(5.0) if chance.random() < 0.2 else 0.0
                tills.send(kind, identity, key, value, delay)
                if kind == "sale" and chance.random() < float(twice):
                    tills.send("again", identity, key, value, delay + chance.expovariate(1.0))
            await asyncio.sleep(0.02)
        await tills.settle()
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
