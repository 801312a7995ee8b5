"""A real server that was stopped, put back from a file, emptied or spoilt: who may write, and what is found out."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from controller.schedule.due import MarketPlan
from streams.store import CannotReach, Fenced, LogRecord
from streams.store.redis.store import RedisStore
from streams.store.restore_port import Damaged
from tests.parts.redis_server import RedisServer
from tests.streams.builders import MIDNIGHT, cell, flip, prepared, window


async def test_what_was_acknowledged_is_there_after_a_stop_and_the_owner_goes_on_once_it_has_claimed_anew(
    own_server: RedisServer,
) -> None:
    store = await prepared(RedisStore(own_server.url, "n", 1))
    await store.flip(0, 1, flip({"de/a": 1}))
    before = await store.outbox(0, 9)
    own_server.stop()
    with pytest.raises(CannotReach):
        await store.flip(0, 1, flip({"de/a": 2}, day=1))
    own_server.restart()
    assert await store.outbox(0, 9) == before
    with pytest.raises(Fenced, match="started anew"):
        await store.flip(0, 1, flip({"de/a": 2}, day=1))
    await store.claim(0, 2)
    assert (await store.flip(0, 2, flip({"de/a": 2}, day=1))).flips == 1
    await store.close()


@pytest.mark.redis7
async def test_a_server_from_before_a_claim_does_not_take_its_old_owner_for_the_present_one(
    own_server: RedisServer,
) -> None:
    """The old owner slept when it was succeeded, and woke up when the store had been put back from an older file."""
    sleeper, successor = (RedisStore(own_server.url, "n", 1) for _ in range(2))
    await prepared(sleeper)
    await sleeper.flip(0, 1, flip({"de/a": 1}))
    own_server.back_up()
    await successor.claim(0, 2)
    own_server.kill()
    own_server.restore()
    own_server.restart()
    before = await sleeper.outbox(0, 9)
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: sleeper.flip(0, 1, flip({"de/a": 2}, day=1)),
        lambda: sleeper.tell(0, 1, [LogRecord("type", "{}")]),
        lambda: sleeper.settle(0, 1, {}, [], 1),
        lambda: sleeper.triggers.enrol(0, 1, {"a": "b"}, [], 1),
        lambda: sleeper.put_back(0, 1, before[0].id, ["de/a"], ""),
        lambda: sleeper.restoring.stand(0, 1, {"log:0": 1}),
        lambda: sleeper.claim(0, 1),
    ]
    for write in writes:
        with pytest.raises(Fenced, match="started anew") as refused:
            await write()
        assert not refused.value.newer
    assert await sleeper.outbox(0, 9) == before
    assert await successor.claim(0, 3) == 0
    with pytest.raises(Fenced, match="epoch 3") as refused:
        await sleeper.flip(0, 1, flip({"de/a": 2}, day=1))
    assert refused.value.newer
    for one in (sleeper, successor):
        await one.close()


async def test_a_server_that_has_lost_everything_refuses_its_old_owner(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 1))
    await server.flushall()
    with pytest.raises(Fenced, match="claim it first"):
        await store.flip(0, 1, flip({"de/a": 1}))
    await store.close()
    await server.aclose()


async def test_a_server_that_comes_back_from_amid_its_rebuild_grants_nothing_to_the_owner_who_rebuilt_it(
    own_server: RedisServer,
) -> None:
    server: Redis = Redis.from_url(own_server.url)
    before = await prepared(RedisStore(own_server.url, "n", 1))
    await before.flip(0, 1, flip({"de/a": 1}))
    owner = RedisStore(own_server.url, "n", 1)
    await owner.claim(0, 2)
    # As in a file from between the claim and what was written back: the owner's epoch is there, and no grant of before.
    await server.delete("{n:t0}:sequence", "{n:t0}:units")
    with pytest.raises(Fenced, match="older than its owner"):
        await owner.flip(0, 2, flip({"de/a": 2}, day=1))
    for one in (before, owner):
        await one.close()
    await server.aclose()


async def test_a_shard_whose_count_of_grants_is_damaged_can_be_claimed_by_who_mends_it(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 1))
    await server.set("{n:t0}:sequence", "nonsense")
    assert await store.claim(0, 2) == 0
    await server.delete("{n:t0}:sequence")
    await server.hset("{n:t0}:sequence", "a", "1")
    assert await store.claim(0, 3) == 0
    await store.close()
    await server.aclose()


async def test_each_call_stays_in_one_slot_of_a_cluster(own_server: RedisServer) -> None:
    """All keys of a shard, or of an input, hash alike: a cluster accepts no other script."""
    server: Redis = Redis.from_url(own_server.url, decode_responses=True)
    store = await prepared(RedisStore(own_server.url, "n", 2))
    await store.flip(0, 1, flip({"de/a": 1}))
    await store.settle(0, 1, {"juice.1/de": MarketPlan()}, [], 1)
    await store.set_closed(0, 1, {"de": (1, 1)})
    await store.put_blackout(window("w", "global", "", 0, 1))
    await store.fold_sales(0, 0, 1, [cell()])
    await store.triggers.fold(0, 0, 1, {"juice.1": {"de/a|x": "1"}})
    await store.mark_caught_up(0, 1, MIDNIGHT)
    keys = [str(key) for key in await server.keys("*")]
    tags = {key.partition(":")[2].partition("}")[0] for key in keys}
    assert tags == {"t0", "t1", "sale:0", "competitor-price:0"}
    assert all(key.startswith("{n:") for key in keys)
    await store.close()
    await server.aclose()


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("{n:t1}:enrolments", ("hset", "juice.1/de c", '{"entries":')),
        ("{n:t1}:enrolments", ("set", "nonsense")),
        ("{n:t1}:trigger", ("set", "nonsense")),
    ],
)
async def test_what_is_not_known_of_clusters_any_more_is_found_before_a_shard_is_taken_over(
    own_server: RedisServer, key: str, command: tuple[str, ...]
) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 2))
    await store.claim(1, 1)
    await store.triggers.enrol(1, 1, {"juice.1/de c": "{}"}, [], 3)
    assert await store.restoring.shard_damage(1) is None
    await server.delete(key)
    await server.execute_command(command[0], key, *command[1:])  # type: ignore[no-untyped-call]
    damage = await store.restoring.shard_damage(1)
    assert damage is not None
    assert damage.shard == 1
    await store.close()
    await server.aclose()


@pytest.mark.parametrize("name", ["plans", "registrations", "kills", "blackout-bodies", "closed"])
async def test_what_nobody_of_ours_wrote_is_damage_to_be_mended_and_no_end_of_a_worker(
    own_server: RedisServer, name: str
) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 2))
    reads = {
        "plans": store.plans,
        "registrations": store.registrations,
        "kills": store.kills,
        "blackout-bodies": store.blackouts,
        "closed": store.closed_through,
    }
    await server.delete(f"{{n:t1}}:{name}")
    await server.hset(f"{{n:t1}}:{name}", "juice.1/de", "nonsense")
    with pytest.raises(Damaged) as said:
        await reads[name](1)
    assert said.value.shard == 1
    await server.delete(f"{{n:t1}}:{name}")
    await server.set(f"{{n:t1}}:{name}", "nonsense")
    with pytest.raises(Damaged):
        await reads[name](1)
    await store.close()
    await server.aclose()
