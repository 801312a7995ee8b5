"""What is sent before it takes effect and reaches the brokers only afterwards is shown by nobody."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from controller.messages.codec import ANNOUNCE_BY, Record
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG
from flipside_client import Assignments
from streams.app import build_parts
from streams.kafka.topics import create_topics
from streams.outputs.outbox_relay import Relay
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from streams.worker.services import Parts
from tests.e2e.flips.evening import EVENING, MORNING, Told, assignments_on
from tests.e2e.running import Servers, eventually, records
from tests.streams.builders import at, experiment, flip

pytestmark = pytest.mark.broker

A, B = "de/a", "de/b"


class OverNight(Parts):
    """Parts whose acknowledgements of assignments, sent in the evening, come in the morning."""

    async def publish(self, topic: str, records: Iterable[Record]) -> int | None:
        stamp = await super().publish(topic, records)
        if topic == ASSIGNMENT:
            assert isinstance(self.clock, Told)
            self.clock.at = MORNING
        return stamp


@asynccontextmanager
async def relayed(parts: Parts, shard: int) -> AsyncIterator[None]:
    """Until a relay has nothing left to publish; it goes on for what comes then."""
    relay = asyncio.create_task(Relay(parts, shard, 0).run())
    try:

        async def done() -> bool:
            return not await parts.store.outbox(shard, 1)

        await eventually("an empty outbox", done)
        yield
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay


@asynccontextmanager
async def overnight(servers: Servers, namespace: str, brokers: timedelta) -> AsyncIterator[Parts]:
    """After a relay had two arms to announce, of which one is control, and has nothing left to do."""
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    async with build_parts(settings, "one") as parts:
        shard, store = parts.shard_of("de"), MemoryStore(settings.partitions)
        given = {name: getattr(parts, name) for name in Parts.__slots__}
        slow = OverNight(**given | {"store": store, "clock": Told(EVENING, brokers)})
        await store.claim(shard, 0)
        await store.put_registration(Registration(experiment(), "hash of juice"))
        await store.flip(shard, 0, flip({A: 1, B: 0}))
        async with relayed(slow, shard):
            yield slow


async def test_what_the_brokers_had_too_late_is_void_and_put_on_control(servers: Servers, namespace: str) -> None:
    """Their clocks show a later year than any deadline here."""
    async with overnight(servers, namespace, timedelta(0)) as parts:
        async with Assignments(servers.kafka, namespace) as client:
            assert [client.arm(unit, MORNING) for unit in (A, B)] == ["control", "control"]
            price = client.assignment(A, MORNING)
            assert price is not None
            assert price.reason == "late"
            assert client.status().records["late"] == 2
        said = {
            (message.unit, message.arm, message.reason.code) for message in await assignments_on(parts, ASSIGNMENT_LOG)
        }
        assert said == {(A, "control", "late"), (B, "control", "scheduled")}
        held = await parts.store.restoring.held(parts.shard_of("de"))
        assert {unit: row.on_control for unit, row in held.items()} == {A: True, B: True}


async def test_what_the_brokers_had_in_time_stands_though_its_acknowledgement_was_late(
    servers: Servers, namespace: str
) -> None:
    """And it is said again without a deadline, so that who reads only the last copy takes it as well."""
    async with overnight(servers, namespace, timedelta(days=36_500)) as parts:
        async with Assignments(servers.kafka, namespace) as client:
            assert [client.arm(unit, MORNING) for unit in (A, B)] == ["low", "control"]
            assert client.status().records["late"] == 0
        copies = [r for r in await records(parts.settings, ASSIGNMENT) if r.key == A.encode()]
        assert [ANNOUNCE_BY in dict(copy.headers) for copy in copies] == [True, False]
        assert len({copy.value for copy in copies}) == 1
        assert {(message.unit, message.arm) for message in await assignments_on(parts, ASSIGNMENT_LOG)} == {
            (A, "low"),
            (B, "control"),
        }


async def test_a_void_announcement_is_a_late_decision_a_metric_and_a_log_line_as_soon_as_it_is_acknowledged(
    servers: Servers, namespace: str
) -> None:
    """The brokers' clocks are ahead of the worker's by more than the lead: its own clock never passes the boundary."""
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    async with build_parts(settings, "one") as parts:
        shard, store = parts.shard_of("de"), MemoryStore(settings.partitions)
        with capture_logs() as logged:
            early = replace(parts, store=store, clock=Told(EVENING, timedelta(0)), log=structlog.get_logger())
            await store.claim(shard, 0)
            await store.put_registration(Registration(experiment(), "hash of juice"))
            await store.flip(shard, 0, flip({A: 1, B: 0}))
            async with relayed(early, shard):
                pass
        said = {(m.unit, m.arm, m.reason.code) for m in await assignments_on(early, ASSIGNMENT)}
        assert said == {(A, "control", "late"), (B, "control", "scheduled")}
        async with Assignments(servers.kafka, namespace) as client:
            price = client.assignment(A, MORNING)
            assert price is not None
            assert (price.arm, price.reason) == ("control", "late")
        (line,) = [line for line in logged if line["event"] == "late"]
        assert (line["units"], line["shard"]) == (1, shard)
        assert "stamped it after it took effect" in line["why"]
        registry = early.metrics.registry
        assert registry.get_sample_value("flipside_flips_total", {"outcome": "late"}) == 1
        assert registry.get_sample_value("flipside_announcements_late_total") == 2


async def test_what_cannot_be_sure_to_be_out_before_it_begins_is_not_sent(servers: Servers, namespace: str) -> None:
    settings = servers.settings(namespace, clock="wall", publish_margin_seconds=20)
    await create_topics(settings)
    async with build_parts(settings, "one") as parts:
        shard, store = parts.shard_of("de"), MemoryStore(settings.partitions)
        soon = replace(parts, store=store, clock=Told(at(0) - timedelta(seconds=10), timedelta(0)))
        await store.claim(shard, 0)
        await store.put_registration(Registration(experiment(), "hash of juice"))
        await store.flip(shard, 0, flip({A: 1}))
        async with relayed(soon, shard):
            assert [message.reason.code for message in await assignments_on(soon, ASSIGNMENT_LOG)] == ["late"]
