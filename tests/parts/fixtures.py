"""One real broker and one real Redis for the whole run; each test gets a namespace of its own in them."""

import uuid
from collections.abc import Iterator

import pytest

from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A single Kafka node, shared by all tests: leave it running."""
    with Kafka() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis with its append-only file, shared by all tests: leave it running."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def namespace() -> str:
    """A prefix that nobody else uses, for topics, groups and keys: a fresh installation on the shared servers."""
    return f"test-{uuid.uuid4().hex[:12]}"
