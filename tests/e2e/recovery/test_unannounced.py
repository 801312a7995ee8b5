"""A decision that was only on the log when the store was lost is republished by the worker that rebuilds the shard."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from controller.definition.experiment import design_hash
from controller.messages.codec import encode
from controller.messages.events import Assignment, Registered
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG
from streams.app import build_parts
from streams.control.catalog import Catalog
from streams.inputs.published_sales import Publications
from streams.kafka.topics import create_topics
from streams.outputs.outbox_relay import assignment_records
from streams.recovery.log_fold import Grant
from streams.recovery.rebuild import Rebuild
from streams.recovery.unannounced import last_round
from streams.runtime.clock import WallClock
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from streams.worker.services import Parts
from tests.e2e.flips.evening import EVENING, MORNING, Told, assignments_on
from tests.e2e.recovery.installations import mended
from tests.e2e.running import Servers
from tests.streams.builders import MIDNIGHT, experiment, flip

pytestmark = pytest.mark.broker

A, B, C = "de/a", "de/b", "de/c"
MINUTE_MS = 60_000


@asynccontextmanager
async def cut_off(
    servers: Servers, namespace: str, now: datetime, told: Sequence[str]
) -> AsyncIterator[tuple[Parts, Rebuild]]:
    """After a worker had an arm and two controls on the log, and ``told`` these on the topic; the store is empty."""
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    async with build_parts(settings, "one") as given:
        # The brokers' clocks show the evening of that day now.
        clock = Told(now, WallClock().now() - EVENING)
        parts = Parts(**{name: getattr(given, name) for name in Parts.__slots__} | {"clock": clock})
        found, store = experiment(), MemoryStore(1)
        registered = Registered(id="r", experiment=found, design_hash=design_hash(found), registered_at=MIDNIGHT)
        await store.claim(0, 0)
        await store.put_registration(Registration(found, registered.design_hash))
        await store.flip(0, 0, flip({A: 1, B: 0, C: 0}, design_hash=registered.design_hash))
        arms = assignment_records(await store.outbox(0, 100), {}, clock.at_brokers)
        await parts.publish(ASSIGNMENT_LOG, [encode(registered, registered.id, MIDNIGHT), *arms])
        await parts.publish(ASSIGNMENT, [record for record in arms if (record.key or b"").decode() in told])
        catalog = Catalog(parts)
        await catalog.start()
        rebuild = Rebuild(parts, Publications(parts, catalog))
        try:
            yield parts, rebuild
        finally:
            await rebuild.stop()
            await catalog.stop()


async def topic(parts: Parts) -> dict[str, list[Assignment]]:
    """What pricing systems were told, by unit."""
    found: dict[str, list[Assignment]] = {}
    for message in await assignments_on(parts, ASSIGNMENT):
        found.setdefault(message.unit, []).append(message)
    return found


async def test_what_waits_for_its_boundary_is_told_by_whoever_rebuilds_the_shard_and_once(
    servers: Servers, namespace: str
) -> None:
    async with cut_off(servers, namespace, EVENING, told=[B]) as (parts, rebuild):
        shard = parts.shard_of("de")
        await mended(parts, rebuild, shard)
        said = await topic(parts)
        assert {unit: [a.arm for a in told] for unit, told in said.items()} == {
            A: ["low"],
            B: ["control"],
            C: ["control"],
        }
        held = await parts.store.restoring.held(shard)
        assert {unit: (a.epoch, a.sequence) for unit, (a,) in said.items()} == {u: h.order for u, h in held.items()}
        await parts.store.restoring.forget_shard(shard)
        await mended(parts, rebuild, shard)
        assert await topic(parts) == said


async def test_an_arm_that_has_begun_is_told_to_nobody_and_control_at_any_time(
    servers: Servers, namespace: str
) -> None:
    async with cut_off(servers, namespace, MORNING, told=[B]) as (parts, rebuild):
        await mended(parts, rebuild, parts.shard_of("de"))
        assert {unit: [a.arm for a in told] for unit, told in (await topic(parts)).items()} == {
            B: ["control"],
            C: ["control"],
        }


def test_only_the_last_round_of_a_shard_is_looked_at() -> None:
    def grant(number: int, decided: int, stamp: int) -> Grant:
        value = b'{"decided_at":"2026-03-02T%02d:00:00Z","epoch":1,"sequence":%d}' % (decided, number)
        return Grant((1, number), "juice.1", 9, value, stamp)

    entries = {b"de/%d" % number: grant(number, number // 2, MINUTE_MS) for number in range(48)}
    assert last_round(entries) == entries, "fewer entries than a round may have, of two units each"
    more = entries | {b"fr/%d" % number: grant(100 + number, 0, MINUTE_MS) for number in range(3)}
    assert last_round(more) == more
    another = more | {b"at/x": grant(200, 0, MINUTE_MS)}
    assert another.keys() - last_round(another).keys() == {b"de/0", b"de/1"}
    later = entries | {b"at/x": grant(200, 0, 7 * MINUTE_MS)}
    assert last_round(later).keys() == {b"at/x"}, "a round is over in five minutes"
    assert last_round({}) == {}
