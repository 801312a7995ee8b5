"""A real Redis for each process, the real data; each test gets a namespace of its own in Kafka and Redis."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.machine import SHARED
from tests.parts.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis with its append-only file, shared by all tests: leave it running."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real sales and published panels; its absence is a failure where it is promised (CI)."""
    assert SHARED.is_dir(), f"{SHARED} is missing: in CI the shared data are part of the deal"
    return SHARED


@pytest.fixture
def namespace() -> str:
    """A prefix that nobody else uses, for topics, groups and keys: a fresh installation on the shared servers."""
    return f"test-{uuid.uuid4().hex[:12]}"
