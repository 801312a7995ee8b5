"""What only workers write and does not come from one: a clock that is ahead moves no experiment before its time."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from controller.definition.field_types import Message
from controller.messages.codec import encode
from controller.messages.control import LifecycleChanged, LifecycleRequest, SeedRevealed
from controller.messages.events import Refused, Tick
from controller.messages.topics import ASSIGNMENT_LOG, DEFINITION, TICK
from flipside.topics.dead_letters import read_letters
from flipside.topics.registered import read_all
from streams.worker.services import partition_of
from tests.e2e.flips.wall_clock_shop import Shop, last_json, shop, written
from tests.e2e.running import eventually

__all__ = ["shop"]
pytestmark = pytest.mark.broker


async def test_requests_of_a_clock_and_ticks_that_are_dated_ahead_start_end_and_reveal_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    start = str(shop.today + timedelta(days=3))
    definition = shop.definition(start=start, lead_minutes=60, seed_disclosure="committed")
    last_json(await shop.run("experiment", "submit", written(tmp_path, definition), "--json"))
    settings, now = shop.settings, datetime.now(UTC)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()

    async def send(topic: str, message: Message, partition: int) -> None:
        record = encode(message, f"ahead/{message!r:.100}", now)
        await producer.send_and_wait(
            settings.prefixed(topic), record.value, record.key, headers=record.headers, partition=partition
        )

    try:
        ahead = (now + timedelta(days=4), datetime(2199, 12, 31, tzinfo=UTC), now + timedelta(minutes=5))
        for number, instant in enumerate(ahead):
            for partition in range(settings.partitions):
                await send(TICK, Tick(at=instant), partition)
            for action in ("begin", "finish"):
                request = LifecycleRequest(
                    id=f"prices.1/{action}/{number}", experiment="prices", action=action, role="clock", who="the clock",
                    why="its time has come", requested_at=instant,
                )  # fmt: skip
                home = partition_of(b"prices/request", settings.partitions)
                await send(DEFINITION, request, home)

        async def refused() -> bool:
            log, letters = await read_all(settings, ASSIGNMENT_LOG), await read_letters(settings)
            said = [problem for m in log if isinstance(m, Refused) for problem in m.problems]
            codes = [kept.letter.code for kept in letters]
            requests = sum("nothing is done before its time" in problem for problem in said)
            return requests == 2 * len(ahead) and codes.count("future") == settings.partitions * len(ahead)

        await eventually("the refusals of requests and ticks", refused)
        # A kill behind all of it is carried out.
        killed = await asyncio.wait_for(shop.run("experiment", "kill", "prices", "--reason", "a drill"), 60)
        assert killed.code == 0, killed.err
        log = await read_all(settings, ASSIGNMENT_LOG)
    finally:
        await producer.stop()
    changes = [m for m in log if isinstance(m, LifecycleChanged)]
    assert {change.action for change in changes} <= {"submit", "kill"}, changes
    revealed = [m for m in log if isinstance(m, SeedRevealed)]
    # The kill ends it, and with its end the seed is told: by a person's word, at a person's time.
    assert all(m.revealed_at < now + timedelta(minutes=4) for m in revealed)
