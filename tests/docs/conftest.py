"""A reader's surroundings: a folder that looks like the repository, and a Flipside that runs on real parts."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from flipside.schemas import ROOT
from streams.embedded.processes import Child, Sandbox
from streams.runtime.settings import child_environment
from tests.parts.ports import free_port
from tests.parts.shared_kafka import SharedKafka

START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Installation:
    """A running Flipside, and the addresses that the pages write instead of its own."""

    environment: Mapping[str, str]
    addresses: Mapping[str, str]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the paths of the pages are there, and which may be written to."""
    for name in ("deploy", "docs", "examples", "schemas"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture(scope="session")
def bare() -> Mapping[str, str]:
    """The environment of a reader who has activated .venv and set nothing."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return child_environment({"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture(scope="module")
def installation(kafka: SharedKafka, redis_url: str, bare: Mapping[str, str]) -> Iterator[Installation]:
    """Topics, a worker and the analysis, as docs/commands.md starts them."""
    port = free_port()
    environment = {**bare, "FLIPSIDE_KAFKA": kafka.address, "FLIPSIDE_REDIS": redis_url}
    flipside = [sys.executable, "-m", "flipside"]
    subprocess.run([*flipside, "topics", "create"], env=environment, check=True, stdout=subprocess.DEVNULL)
    with Sandbox("flipside-docs-") as sandbox:
        # Mostly idle: asks the broker less often than a shop's would.
        service = {**environment, "FLIPSIDE_FETCH_WAIT_MS": "200"}
        worker = sandbox.start("worker", [*flipside, "worker"], {**service, "FLIPSIDE_METRICS_PORT": str(port)})
        sandbox.start("analysis", [*flipside, "analysis"], service)
        worker.wait_until(lambda: _owns_all(worker, port), START_SECONDS, "owner of all shards")
        addresses = {
            "127.0.0.1:9092": kafka.address,
            "redis://127.0.0.1:6379/0": redis_url,
            "127.0.0.1:9400": f"127.0.0.1:{port}",
        }
        yield Installation(environment, addresses)


def _owns_all(worker: Child, port: int) -> bool:
    if not worker.said("worker started"):
        return False
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return b"\nflipside_shards_owned 4.0\n" in answer.read()
