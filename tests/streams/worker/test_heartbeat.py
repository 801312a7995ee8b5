"""Probes: what a supervisor restarts a worker for, and what it must not restart it for."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from controller.errors import CannotReach
from streams.runtime.clock import TickClock
from streams.runtime.settings import Settings
from streams.store.memory.store import MemoryStore
from streams.worker.heartbeat import Pulse
from streams.worker.metrics import Metrics, OverShards
from streams.worker.probes import serve_probes
from streams.worker.services import Parts
from streams.worker.watchdog import Stuck, look_after
from tests.parts.ports import free_port

PATIENCE = 3


def looked(pulse: Pulse, times: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for _ in range(times):
        found = dict(pulse.look())
    return found


def test_a_duty_that_misses_more_looks_than_allowed_is_stuck_and_named() -> None:
    pulse = Pulse(PATIENCE)
    pulse.beat("owner")
    pulse.beat("sale")
    assert looked(pulse, PATIENCE) == {}
    pulse.beat("sale")
    assert looked(pulse, 1) == {"owner": PATIENCE + 1}
    assert "owner" in (pulse.why_not_alive() or "")


def test_a_partition_that_is_behind_and_does_not_move_is_stuck_though_its_duty_turns() -> None:
    pulse = Pulse(PATIENCE)
    for _ in range(PATIENCE + 1):
        pulse.beat("sale")
        pulse.follow("sale-2", moved=False)
        stuck = pulse.look()
    assert stuck == {"sale-2": PATIENCE + 1}
    pulse.forget("sale-2")
    assert pulse.why_not_alive() is None


def test_waiting_for_a_part_is_not_ready_but_alive() -> None:
    pulse = Pulse(PATIENCE)
    pulse.expect(["owner", "sale"])
    assert "starting" in (pulse.why_not_ready() or "")
    pulse.beat("owner")
    pulse.beat("sale")
    pulse.follow("sale-0", moved=False)
    for _ in range(2 * PATIENCE):
        pulse.waits("sale")
        pulse.beat("owner")
        assert pulse.look() == {}
    assert pulse.why_not_alive() is None
    assert "sale" in (pulse.why_not_ready() or "")
    pulse.beat("sale")
    assert pulse.why_not_ready() is None


@pytest.fixture
def probed() -> Iterator[tuple[Pulse, str]]:
    registry = CollectorRegistry()
    Counter("flipside_shown", "Anything", registry=registry).inc()
    pulse = Pulse(PATIENCE)
    server = serve_probes("127.0.0.1", 0, registry, pulse)
    yield pulse, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(address: str) -> tuple[int, str]:
    try:
        with urlopen(address, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def test_the_probes_answer_with_status_and_reason_beside_the_metrics(probed: tuple[Pulse, str]) -> None:
    pulse, address = probed
    pulse.expect(["owner"])
    assert ask(f"{address}/ready")[0] == HTTPStatus.SERVICE_UNAVAILABLE
    assert ask(f"{address}/live") == (HTTPStatus.OK, "ok\n")
    pulse.beat("owner")
    pulse.look()
    assert ask(f"{address}/ready") == (HTTPStatus.OK, "ok\n")
    looked(pulse, PATIENCE)
    status, why = ask(f"{address}/live")
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "owner" in why
    assert "flipside_shown_total 1.0" in ask(f"{address}/metrics")[1]
    status, why = ask(f"{address}/elsewhere")
    assert status == HTTPStatus.NOT_FOUND
    assert "/ready" in why


def test_a_port_that_is_taken_is_told_with_the_setting(probed: tuple[Pulse, str]) -> None:
    port = int(probed[1].rsplit(":", 1)[1])
    with pytest.raises(CannotReach, match=f"127.0.0.1:{port}.*FLIPSIDE_METRICS_PORT"):
        serve_probes("127.0.0.1", port, CollectorRegistry(), Pulse())


def parts(kafka: str) -> Parts:
    settings = Settings(kafka=kafka, partitions=1)
    producer = SimpleNamespace()  # the watchdog sends nothing
    log = structlog.get_logger()
    return Parts(settings, TickClock(), MemoryStore(1), producer, Metrics(), log, "w", pulse=Pulse(PATIENCE))


async def test_a_worker_that_stands_still_while_its_parts_answer_ends(mock_broker: str) -> None:
    standing = parts(mock_broker)
    standing.pulse.beat("owner")
    with pytest.raises(Stuck, match="owner"):
        await asyncio.wait_for(look_after(standing, asyncio.Event(), every=0.001), 30)


async def test_a_worker_whose_broker_is_away_waits_and_does_not_end() -> None:
    standing = parts(f"127.0.0.1:{free_port()}")
    stop, excused = asyncio.Event(), asyncio.Event()

    class Excusing(Pulse):
        def excuse(self) -> None:
            super().excuse()
            excused.set()

    standing = replace(standing, pulse=Excusing(PATIENCE))
    standing.pulse.beat("owner")
    watching = asyncio.create_task(look_after(standing, stop, every=0.001))
    await asyncio.wait_for(excused.wait(), 30)
    stop.set()
    await watching
    assert standing.pulse.why_not_alive() is None


def test_a_gauge_over_shards_shows_all_that_the_worker_holds_and_nothing_it_gave_away() -> None:
    registry = CollectorRegistry()
    lease = OverShards(min, "lease", "Seconds", registry)
    depth = OverShards(sum, "depth", "Entries", registry)
    assert registry.get_sample_value("lease") == float("inf")
    for shard, value in ((0, 5.0), (1, 3.0)):
        lease.set(shard, value)
        depth.set(shard, value)
    assert registry.get_sample_value("lease") == 3.0
    assert registry.get_sample_value("depth") == 8.0
    lease.drop(1)
    depth.drop(1)
    assert registry.get_sample_value("lease") == 5.0
    assert registry.get_sample_value("depth") == 5.0
