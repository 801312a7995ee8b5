"""The embedded parts, for tests that need no more, and the store in both its adapters."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from streams.embedded.servers import embedded_broker
from streams.store import Registration, Store
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from tests.parts.redis_server import RedisServer
from tests.streams.builders import experiment

SHARDS = 2


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """Address of an embedded broker without topics."""
    with embedded_broker({}) as address:
        yield address


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that this test may maltreat."""
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Store]:
    """An empty store of two shards; the experiments *juice* and *milk* are registered, epoch 1 owns both shards."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(SHARDS)
    else:
        opened = RedisStore(request.getfixturevalue("redis_url"), namespace, SHARDS)
    for name in ("juice", "milk"):
        await opened.put_registration(Registration(experiment(name), f"hash of {name}"))
    for shard in range(SHARDS):
        await opened.claim(shard, 1)
    yield opened
    await opened.close()
