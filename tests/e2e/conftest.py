"""The whole product needs both servers."""

import asyncio

import pytest

from flipside.replay.progress import Result
from tests.e2e.eventful import Outcome, happen
from tests.e2e.running import CALM_DAYS, Servers, market, plan, replay
from tests.parts.once import once
from tests.parts.shared_kafka import SharedKafka


@pytest.fixture(scope="session")
def servers(kafka: SharedKafka, redis_url: str) -> Servers:
    """The shared Kafka and Redis; each test makes installations of its own on them."""
    return Servers(kafka.address, redis_url)


@pytest.fixture(scope="session")
def calm(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A replay of `CALM_DAYS` days of the small market: what others must come to, whatever happens to them."""
    settings = servers.settings("calm")
    return once(tmp_path_factory, "calm", lambda: asyncio.run(replay(settings, plan(market(days=CALM_DAYS)))))


@pytest.fixture(scope="session")
def eventful(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A replay with a blackout, three poisoned sales and a late one; it has ended, its topics are there to be read."""
    settings = servers.settings("eventful", revision_days=14)
    return once(tmp_path_factory, "eventful", lambda: asyncio.run(happen(settings)))
