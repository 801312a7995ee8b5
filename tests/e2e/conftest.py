"""The whole product needs both servers."""

import pytest

from tests.e2e.running import Servers
from tests.parts.kafka import Kafka


@pytest.fixture
def servers(kafka: Kafka, redis_url: str) -> Servers:
    """The shared Kafka and Redis; each test makes installations of its own on them."""
    return Servers(kafka.address, redis_url)
