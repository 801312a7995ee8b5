"""What only a real server can do to us: lose a reply, restart, run full, be a replica, be gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from redis.asyncio import Redis

from controller.schedule import MarketPlan
from streams.store import CannotReach, Fenced, Registration, StoreRefuses
from streams.store.redis import RedisStore
from streams.store.restoring import Damaged
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer
from tests.streams.builders import MIDNIGHT, cell, experiment, flip, ordinal, total, window

LAST = {"de": ordinal(99)}


class ForgetfulWire:
    """A way to a server on which replies get lost: the command arrives, the connection breaks before the answer."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("redis://").removesuffix("/0").partition(":")
        self._server = (host, int(port))
        #: replies still to lose
        self.lose = 0
        self.lost = 0

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        open_ends: set[asyncio.StreamWriter] = set()

        async def carry(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
            far_in, far_out = await asyncio.open_connection(*self._server)
            open_ends.update((near_out, far_out))

            async def there() -> None:
                while data := await near_in.read(1 << 20):
                    far_out.write(data)
                far_out.close()

            async def back() -> None:
                while data := await far_in.read(1 << 20):
                    if self.lose:
                        self.lose -= 1
                        self.lost += 1
                        break
                    near_out.write(data)
                near_out.close()

            with contextlib.suppress(ConnectionError):
                await asyncio.gather(there(), back())
            far_out.close()

        server = await asyncio.start_server(carry, "127.0.0.1", 0)
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        server.close()
        for end in open_ends:
            end.close()
        await server.wait_closed()


async def prepared(store: RedisStore) -> RedisStore:
    await store.put_registration(Registration(experiment(), "hash of juice"))
    await store.claim(0, 1)
    return store


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that this test may maltreat."""
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("losses", [1, 2])
async def test_what_is_asked_again_because_the_reply_was_lost_is_done_once(
    redis_url: str, namespace: str, losses: int
) -> None:
    wire = ForgetfulWire(redis_url)
    async with wire.url() as url:
        store = await prepared(RedisStore(url, namespace, 2))
        rivals = {"juice.1": {"de/a|x": "100"}}
        # So that every script is known to the server, and what is lost is the reply of the script itself.
        await store.settle(0, 1, {}, [], 1)
        assert await store.fold_sales(0, 0, 1, [cell()])
        assert await store.triggers.fold(0, 0, 1, rivals)
        await store.flip(0, 1, flip({"de/z": 0}))
        await store.cleaned(await store.dirty(LAST))
        await store.set_closed(0, 1, {})
        await store.put_blackout(window("w", "global", "", 7, 8))

        wire.lose = losses
        assert (await store.flip(0, 1, flip({"de/a": 1}))).kept == 0
        wire.lose = losses
        await store.settle(0, 1, {"juice.1/de": MarketPlan(MIDNIGHT.date())}, [("kind", "{}")], 2)
        wire.lose = losses
        assert await store.fold_sales(0, 1, 2, [cell()]), "applied, though the first answer to that was lost"
        wire.lose = losses
        assert await store.triggers.fold(0, 1, 2, rivals)
        wire.lose = losses
        assert await store.claim(0, 1) == 2
        dirty = await store.dirty(LAST)
        wire.lose = losses
        await store.cleaned(dirty)
        wire.lose = losses
        await store.set_closed(0, 1, {"de": (1, 1)})
        wire.lose = losses
        await store.put_blackout(window("w", "unit", "de/a", 7, 8))
        wire.lose = losses
        await store.put_registration(Registration(experiment(version=2), "new"))
        assert wire.lost == 9 * losses, "each of these lost its reply"

        entries = await store.outbox(0, 9)
        assert [len(entry.granted) for entry in entries] == [1, 1, 0]
        assert [entry.records for entry in entries] == [(), (), (("kind", "{}"),)]
        assert total(dirty) == [("de/a", 2, 200, 1)]
        await store.fold_sales(0, 2, 3, [cell()])
        assert total(await store.dirty(LAST)) == [("de/a", 3, 300, 2)]
        assert await store.blackouts(0) == {"w": window("w", "unit", "de/a", 7, 8)}
        assert await store.registrations_version(0) == 2
        await store.close()


async def test_a_server_that_keeps_hanging_up_is_an_error_soon(redis_url: str, namespace: str) -> None:
    wire = ForgetfulWire(redis_url)
    async with wire.url() as url:
        store = RedisStore(url, namespace, 2)
        wire.lose = 10**6
        with pytest.raises(CannotReach, match=r"127\.0\.0\.1"):
            await store.claim(0, 1)
        assert wire.lost < 20, "asked again a few times, and no more"
        wire.lose = 0
        assert await store.claim(0, 1) == 0
        await store.close()


async def test_a_server_that_hangs_is_an_error_soon_and_a_server_again_when_it_wakes(own_server: RedisServer) -> None:
    store = await prepared(RedisStore(own_server.url, "n", 1, answer_seconds=0.2))
    own_server.pause()
    try:
        with pytest.raises(CannotReach, match="does not answer"):
            await store.flip(0, 1, flip({"de/a": 1}))
    finally:
        own_server.resume()
    await store.flip(0, 1, flip({"de/a": 1}))
    assert [row.arm for entry in await store.outbox(0, 9) for row in entry.granted] == ["low"], "once"
    await store.close()


async def test_scripts_that_the_server_has_forgotten_are_sent_again(redis_url: str, namespace: str) -> None:
    store = await prepared(RedisStore(redis_url, namespace, 2))
    server: Redis = Redis.from_url(redis_url)
    await server.script_flush()
    assert (await store.flip(0, 1, flip({"de/a": 1}))).flips == 1
    await server.aclose()
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@127.0.0.1:{port}/0",
        "redis://user:s3cret@127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}/0?password=s3cret",
        "redis://user@127.0.0.1:{port}/0?username=user&password=s3cret",
    ],
)
async def test_an_error_names_the_address_and_no_password(url: str) -> None:
    port = free_port()
    store = RedisStore(url.format(port=port), "n", 1)
    works = (store.ping(), store.claim(0, 1), store.plans(0), store.published(0, ["1-0"]), store.caught_up())
    for error in await asyncio.gather(*works, return_exceptions=True):
        assert isinstance(error, CannotReach)
        assert f"127.0.0.1:{port}" in str(error)
        assert "FLIPSIDE_REDIS" in str(error)
        assert "s3cret" not in str(error)
    assert "s3cret" not in repr(store)
    await store.close()


@pytest.mark.parametrize("url", ["redis://:s3/cret@host:6379", "s3cret", "http://:s3cret@host", "redis://:s3cret@h:x"])
def test_an_address_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(CannotReach, match="redis://") as caught:
        RedisStore(url, "n", 1)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_wrong_password_says_so(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    await server.config_set("requirepass", "right")
    missing = RedisStore(own_server.url, "n", 1)
    with pytest.raises(StoreRefuses, match="password are missing"):
        await missing.ping()
    wrong = RedisStore(own_server.url.replace("//", "//:wr0ng@"), "n", 1)
    with pytest.raises(StoreRefuses, match="password are missing") as caught:
        await wrong.ping()
    assert "wr0ng" not in str(caught.value)
    for client in (missing, wrong):
        await client.close()
    await server.aclose()


# --- a server that refuses --------------------------------------------------------------------------------------------


async def test_a_full_server_writes_nothing_by_halves_and_goes_on_once_it_has_room(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 1))
    await store.flip(0, 1, flip({"de/z": 1}))
    await store.fold_sales(0, 0, 1, [cell("de/z")])
    await server.config_set("maxmemory", 1)
    writes = {
        "flip": lambda: store.flip(0, 1, flip({f"de/{k}": 1 for k in range(900)})),
        "settle": lambda: store.settle(0, 1, {"juice.1/de": MarketPlan(MIDNIGHT.date())}, [("kind", "{}")], 2),
        "sales": lambda: store.fold_sales(0, 1, 2, [cell("de/z"), cell("de/y")]),
        "rivals": lambda: store.triggers.fold(0, 0, 1, {"juice.1": {"de/a|x": "100"}}),
        "registration": lambda: store.put_registration(Registration(experiment("tea"), "hash")),
        "blackout": lambda: store.put_blackout(window("w", "global", "", 0, 1)),
        "closings": lambda: store.set_closed(0, 1, {"de": (1, 1)}),
        "caught up": lambda: store.mark_caught_up(0, 1, MIDNIGHT),
        "claim": lambda: store.claim(0, 2),
    }
    for write in writes.values():
        with pytest.raises(StoreRefuses, match=r"maxmemory.*noeviction"):
            await write()
    assert len(await store.outbox(0, 9)) == 1
    assert await store.plans(0) == {}
    assert total(await store.dirty(LAST)) == [("de/z", 1, 100, 0)]
    assert await store.position("sale", 0) == 1
    assert await store.blackouts(0) == {}
    assert set((await store.registrations(0))[1]) == {"juice"}
    # A full server can still be relieved.
    await store.published(0, [(await store.outbox(0, 1))[0].id])
    await server.config_set("maxmemory", 0)
    for write in writes.values():
        await write()
    assert [len(entry.granted) for entry in await store.outbox(0, 9)] == [400, 400, 100, 0]
    assert total(await store.dirty(LAST)) == [("de/y", 1, 100, 0), ("de/z", 2, 200, 0)]
    await store.close()
    await server.aclose()


async def test_a_server_that_may_evict_decisions_is_refused_at_the_start(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = RedisStore(own_server.url, "n", 1)
    await store.ping()
    await server.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreRefuses, match=r"allkeys-lru.*noeviction"):
        await store.ping()
    await store.close()
    await server.aclose()


async def test_a_replica_is_no_place_to_decide(own_server: RedisServer) -> None:
    server: Redis = Redis.from_url(own_server.url)
    store = await prepared(RedisStore(own_server.url, "n", 1))
    await server.replicaof("127.0.0.1", free_port())
    for write in (
        store.flip(0, 1, flip({"de/a": 1})),
        store.published(0, ["1-0"]),
        store.mark_caught_up(0, 0, MIDNIGHT),
    ):
        with pytest.raises(StoreRefuses, match="primary"):
            await write
    await server.replicaof("NO", "ONE")
    assert await store.outbox(0, 9) == []
    assert (await store.flip(0, 1, flip({"de/a": 1}))).flips == 1
    await store.close()
    await server.aclose()


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
    with pytest.raises(Fenced, match="older than its owner"):
        await store.flip(0, 1, flip({"de/a": 2}, day=1))
    await store.claim(0, 2)
    assert (await store.flip(0, 2, flip({"de/a": 2}, day=1))).flips == 1
    await store.close()


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
        lambda: sleeper.tell(0, 1, [("type", "{}")]),
        lambda: sleeper.settle(0, 1, {}, [], 1),
        lambda: sleeper.triggers.enrol(0, 1, {"a": "b"}, [], 1),
        lambda: sleeper.put_back(0, 1, before[0].id, ["de/a"], ""),
        lambda: sleeper.restoring.stand(0, 1, {"log:0": 1}),
        lambda: sleeper.claim(0, 1),
    ]
    for write in writes:
        with pytest.raises(Fenced, match="older than its owner") as refused:
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
    tags = {key.partition(":")[2].partition("}")[0] for key in await server.keys("*")}
    assert tags == {"t0", "t1", "sale:0", "competitor-price:0"}
    assert all(key.startswith("{n:") for key in await server.keys("*"))
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
    await server.execute_command(command[0], key, *command[1:])
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
