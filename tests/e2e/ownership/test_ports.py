"""Nothing listens on anything but loopback unless told to, and Faust's own web server never does."""

import asyncio
import os
import sys
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from streams.embedded.processes import Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import child_environment
from tests.e2e.running import PATIENCE_SECONDS, Servers
from tests.parts.ports import free_port

pytestmark = pytest.mark.broker

LISTEN = "0A"


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which a process listens, as Linux tells."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                address, port = local.split(":")
                found.add((address_of(address), int(port, 16)))
    return found


def address_of(text: str) -> str:
    """An address as Linux writes it: words of four bytes in the machine's order."""
    words = [bytes.fromhex(text[k : k + 8])[::-1] for k in range(0, len(text), 8)]
    return str(ip_address(b"".join(words)))


def test_addresses_are_read_as_linux_writes_them() -> None:
    assert address_of("0100007F") == "127.0.0.1"
    assert address_of("00000000") == "0.0.0.0"
    assert address_of("00000000000000000000000001000000") == "::1"


@pytest.mark.parametrize("metrics", [False, True])
async def test_a_worker_listens_where_it_was_told_to_and_nowhere_else(
    servers: Servers, namespace: str, metrics: bool
) -> None:
    settings = servers.settings(namespace, clock="wall")
    await create_topics(settings)
    port = free_port() if metrics else 0
    environment = {
        "FLIPSIDE_KAFKA": settings.kafka,
        "FLIPSIDE_REDIS": settings.redis.get_secret_value(),
        "FLIPSIDE_NAMESPACE": namespace,
        "FLIPSIDE_PARTITIONS": str(settings.partitions),
        "FLIPSIDE_METRICS_PORT": str(port),
    }
    with Sandbox() as sandbox:
        worker = sandbox.start("worker", [sys.executable, "-m", "flipside", "worker"], child_environment(environment))
        at_work = partial(worker.said, "shard taken over")
        await asyncio.to_thread(worker.wait_until, at_work, PATIENCE_SECONDS, "owner of a shard")
        assert listening(worker.pid) == ({("127.0.0.1", port)} if metrics else set())
