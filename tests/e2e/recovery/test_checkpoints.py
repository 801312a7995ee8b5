"""Checkpoints on real Kafka and Redis: what they hold comes back, and what must not be in one is not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from controller.definition.experiment import design_hash
from controller.messages.codec import encode
from controller.messages.control import Kill
from controller.messages.events import PeriodClosed, Registered
from controller.messages.topics import ASSIGNMENT_LOG, CHECKPOINT, DEFINITION, PANEL
from controller.schedule.due import MarketPlan
from streams.inputs.published_sales import Publications
from streams.kafka.reading import reader
from streams.outputs.outbox_relay import assignment_records
from streams.recovery.checkpoints import Summing, drop_checkpoints, read_checkpoints
from streams.recovery.rebuild import Rebuild
from streams.store import Fenced, Outcome, Registration, plan_key
from streams.store.memory.store import MemoryStore
from streams.worker.services import Parts
from tests.e2e.recovery.installations import installation, mended
from tests.e2e.running import Servers
from tests.streams.builders import MIDNIGHT, at, experiment, flip, paused

pytestmark = pytest.mark.broker


SECRET = experiment("secret").model_copy(update={"seed_disclosure": "committed", "seed": "hush"})


async def claimed(parts: Parts, rebuild: Rebuild) -> int:
    """Own every shard; the epoch is the same for all, as each is claimed for the first time."""
    for shard in range(parts.settings.partitions):
        await mended(parts, rebuild, shard)
    return 0


async def published(parts: Parts, shard: int) -> None:
    """What a relay does."""
    entries = await parts.store.outbox(shard, 100)
    await parts.publish(ASSIGNMENT_LOG, assignment_records(entries))
    await parts.store.published(shard, [entry.id for entry in entries])


async def summed_up(parts: Parts, rebuild: Rebuild, epoch: int = 0) -> None:
    for shard in range(parts.settings.partitions):
        ends = await rebuild.ends()
        await parts.store.restoring.stand(shard, epoch, ends)
        assert await Summing(parts, shard, epoch).make(ends)


async def emptied(parts: Parts, topics: Sequence[str]) -> None:
    """Delete what is on topics: nobody can have it from there."""
    client = AIOKafkaAdminClient(**parts.connection)
    consumer = reader(parts.connection, parts.settings)
    await client.start()
    await consumer.start()
    try:
        places = [TopicPartition(parts.topic(t), p) for t in topics for p in range(parts.settings.partitions)]
        ends = await consumer.end_offsets(places)
        await client.delete_records({place: RecordsToDelete(end) for place, end in ends.items()})
    finally:
        await consumer.stop()
        await client.close()


async def everything(parts: Parts, shard: int) -> dict[str, Any]:
    """What a shard holds."""
    store = parts.store
    return {
        "units": await store.restoring.held(shard),
        "plans": await store.plans(shard),
        "registrations": (await store.registrations(shard))[1],
        "kills": await store.kills(shard),
        "closed": await store.closed_through(shard),
        "clusters": (await store.triggers.enrolments(shard))[1],
    }


async def test_what_a_checkpoint_holds_comes_back_though_the_log_before_it_is_gone(
    servers: Servers, namespace: str
) -> None:
    """Units that were decided long ago, a market without a decision since, an experiment that is over, numbers."""
    async with installation(servers, namespace) as (parts, catalog):
        rebuild, store, shard = Rebuild(parts, Publications(parts, catalog)), parts.store, parts.shard_of("de")
        epoch, committed = await claimed(parts, rebuild), design_hash(experiment())
        over = Registration(experiment(), committed, state="stopped", history=(paused(),), listed={"de/a": (100, None)})
        # The seed of a committed experiment is nobody's business: its definition has it.
        await parts.publish(DEFINITION, [encode(SECRET, SECRET.name, MIDNIGHT)])
        for registration in (over, Registration(SECRET, design_hash(SECRET))):
            await store.put_registration(registration)
        await store.put_kill(Kill(id="all", scope="all", who="ada", why="fire", lifted=True, requested_at=at(1)))
        for day in range(3):
            await store.flip(shard, epoch, flip({"de/a": 1, "de/b": 0}, day, design_hash=committed))
        await store.flip(shard, epoch, flip({"de/a": 0, "de/b": 0}, 3, release=True, design_hash=committed))
        await store.settle(shard, epoch, {plan_key("juice", 1, "de"): MarketPlan(at(3).date(), True)}, [], 4)
        await store.set_closed(shard, epoch, {"de": (at(2).date().toordinal(), 5)})
        await store.triggers.enrol(shard, epoch, {"juice.1/de|all": '{"seen": {}}'}, [], 1)
        await published(parts, shard)
        before = await everything(parts, shard)
        await summed_up(parts, rebuild)
        await emptied(parts, [ASSIGNMENT_LOG])
        await store.restoring.forget_shard(shard)
        assert (await everything(parts, shard))["units"] == {}
        other = Rebuild(parts, Publications(parts, catalog))
        await mended(parts, other, shard)
        assert await everything(parts, shard) == before
        epoch = max(epoch, 1)
        assert await store.claim(shard, epoch) == 4, "no tick is decided again"
        await store.put_registration(Registration(experiment(version=2), committed))
        await store.flip(shard, epoch, flip({"de/c": 1}, 5, design_hash=committed, version=2))
        (entry,) = await store.outbox(shard, 10)
        assert entry.granted[0].sequence == 9, "numbers go on above the last one"
        await rebuild.stop()
        await other.stop()


async def test_the_log_behind_a_checkpoint_is_read_and_the_log_before_it_is_not(
    servers: Servers, namespace: str
) -> None:
    async with installation(servers, namespace) as (parts, catalog):
        rebuild, store, shard = Rebuild(parts, Publications(parts, catalog)), parts.store, parts.shard_of("de")
        epoch, committed = await claimed(parts, rebuild), design_hash(experiment())
        registered = Registered(id="r", experiment=experiment(), design_hash=committed, registered_at=MIDNIGHT)
        await store.put_registration(Registration(experiment(), committed))
        await parts.publish(ASSIGNMENT_LOG, [encode(registered, "r", MIDNIGHT)])
        for day in range(5):
            await store.flip(shard, epoch, flip({"de/a": 1, "de/b": 0}, day, design_hash=committed))
        await published(parts, shard)
        await summed_up(parts, rebuild)
        await store.flip(shard, epoch, flip({"de/a": 0}, 5, design_hash=committed))
        await published(parts, shard)
        late = PeriodClosed(market="de", day=at(4).date(), watermark=at(5), offsets={}, unit_days=0, events=0,
                            revised=0, revision=0)  # fmt: skip
        await parts.publish(PANEL, [encode(late, "late", at(5))])
        before = (await everything(parts, shard))["units"]

        async def again(expected: int) -> None:
            await store.restoring.forget_shard(shard)
            one = Rebuild(parts, Publications(parts, catalog))
            await mended(parts, one, shard)
            assert one._whole is not None
            assert one._whole[0].records == expected
            assert (await everything(parts, shard))["units"] == before
            assert (await store.closed_through(shard))["de"] == (at(4).date().toordinal(), 0)
            await one.stop()

        await again(1)
        # By hand: the store from which the checkpoint was taken is in doubt.
        await drop_checkpoints(parts.settings, [shard])
        await again(12)
        await rebuild.stop()


class Restless(MemoryStore):
    """A store in which something is decided while its shard is read."""

    committed = ""
    meanwhile = False

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        if self.meanwhile:
            await self.flip(shard, 0, flip({"de/a": 1}, 7, design_hash=self.committed))
        return await super().plans(shard)

    async def published_all(self, shard: int) -> None:
        await self.published(shard, [entry.id for entry in await self.outbox(shard, 100)])


async def test_no_checkpoint_of_a_shard_that_owes_the_log_or_does_not_keep_still(
    servers: Servers, namespace: str
) -> None:
    """A decision that nobody has heard of must not come back as made."""
    async with installation(servers, namespace) as (parts, _):
        store = Restless(parts.settings.partitions)
        parts, store.committed = replace(parts, store=store), design_hash(experiment())
        await store.put_registration(Registration(experiment(), store.committed))
        await store.claim(0, 0)
        await store.restoring.stand(0, 0, {"log:0": 0})
        summing, consumer = Summing(parts, 0, 0), reader(parts.connection, parts.settings)
        await consumer.start()
        try:
            assert await store.flip(0, 0, flip({"de/a": 1}, design_hash=store.committed)) == Outcome(flips=1)
            assert not await summing.make({"log:0": 0}), "its outbox is not empty"
            await store.published_all(0)
            store.meanwhile = True
            assert not await summing.make({"log:0": 0}), "something was decided while it was read"
            await store.published_all(0)
            assert (await read_checkpoints(parts, consumer)).shards == {}
            store.meanwhile = False
            assert await summing.make({"log:0": 0})
            (found,) = (await read_checkpoints(parts, consumer)).shards.values()
            assert found.units["de/a"][1] == at(7).date().toordinal()
            await store.claim(0, 1)
            with pytest.raises(Fenced):
                await summing.make({"log:0": 0})
        finally:
            await consumer.stop()


async def test_a_store_that_was_emptied_meanwhile_is_not_summed_up(servers: Servers, namespace: str) -> None:
    """It is as still as a new one, and its owner has noted positions in a store that is gone."""
    async with installation(servers, namespace) as (parts, catalog):
        rebuild = Rebuild(parts, Publications(parts, catalog))
        await claimed(parts, rebuild)
        await parts.store.restoring.forget_shard(0)
        with pytest.raises(Fenced):
            await Summing(parts, 0, 0).make(await rebuild.ends())
        await rebuild.stop()


async def test_one_is_made_when_it_is_time_and_worth_its_while(servers: Servers, namespace: str) -> None:
    async with installation(servers, namespace) as (parts, catalog):
        rebuild, ends = Rebuild(parts, Publications(parts, catalog)), {"log:0": 0}
        await claimed(parts, rebuild)
        consumer = reader(parts.connection, parts.settings)
        await consumer.start()
        place = TopicPartition(parts.topic(CHECKPOINT), 0)
        soon = replace(parts, settings=parts.settings.model_copy(update={"checkpoint_seconds": 1e-9}))
        never = replace(parts, settings=parts.settings.model_copy(update={"checkpoint_seconds": 0.0}))

        async def count() -> int:
            places = [TopicPartition(place.topic, p) for p in range(parts.settings.partitions)]
            return int(sum((await consumer.end_offsets(places)).values()))

        try:
            await Summing(parts, 0, 0).follow(ends)
            await Summing(never, 0, 0).follow(ends)
            assert await count() == 0, "a quarter of an hour has not passed; it was never wanted"
            summing = Summing(soon, 0, 0)
            await summing.follow(ends)
            await summing.follow(ends)
            assert await count() == 1, "the second one would say the same"
            await summing.follow({"log:0": 1})
            assert await count() == 2
        finally:
            await consumer.stop()
            await rebuild.stop()
