"""What only a real server can do to us: lose a reply, restart, run full, be a replica, be gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from controller.schedule.due import MarketPlan
from streams.store import CannotReach, LogRecord, Registration, StoreRefuses
from streams.store.redis.store import RedisStore
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer
from tests.streams.builders import MIDNIGHT, cell, experiment, flip, ordinal, prepared, total, window

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
        await store.settle(0, 1, {"juice.1/de": MarketPlan(MIDNIGHT.date())}, [LogRecord("kind", "{}")], 2)
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
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "flip": lambda: store.flip(0, 1, flip({f"de/{k}": 1 for k in range(900)})),
        "settle": lambda: store.settle(0, 1, {"juice.1/de": MarketPlan(MIDNIGHT.date())}, [LogRecord("kind", "{}")], 2),
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
