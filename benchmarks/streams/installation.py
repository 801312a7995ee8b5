"""An installation to measure: servers and workers of its own, in processes of their own, and what those take."""

import gc
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from controller.messages.codec import Record
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG
from controller.time.periods import day_start
from flipside.simulated_shop.shop import plain
from streams.embedded.processes import Child, Sandbox
from streams.runtime.settings import Settings
from streams.worker.services import partition_of
from tests.e2e.inputs.messy import worker_environment
from tests.parts.kafka import SHORT_LIVED, Kafka
from tests.parts.redis_server import RedisServer

CURRENCY, LIST_PRICE = "EUR", 1000
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Parts:
    """Processes whose time is told, by name."""

    pids: dict[str, int]

    def cpu_seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its threads so far (from /proc, hence on Linux only)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def compiler_seconds(pid: int) -> dict[str, float]:
    """Processor time so far of the threads of a Java process that compile; they come and go."""
    spent = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # gone since
            if "Compiler" in (thread / "comm").read_text():
                spent[thread.name] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent


def compiled_since(before: Mapping[str, float], pid: int) -> float:
    """Processor time of those that are there now, since `compiler_seconds` was asked."""
    return sum(now - before.get(thread, 0.0) for thread, now in compiler_seconds(pid).items())


def resident_mb(pid: int) -> float:
    """Memory that a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def hold_for_good() -> None:
    """What docs/pricing-engineer.md tells a ready client to do: what it holds is not walked over again and again."""
    gc.collect()
    gc.freeze()


def machine() -> dict[str, Any]:
    """What a figure was measured on, and when; the load says whether it can be trusted."""
    named = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    model = next(named, platform.machine()).rpartition(":")[2].strip()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


@contextmanager
def servers(jvm: Sequence[str] = SHORT_LIVED) -> Iterator[tuple[Kafka, RedisServer]]:
    with Kafka(jvm=jvm) as kafka, RedisServer() as redis:
        yield kafka, redis


def unit(number: int, markets: int) -> str:
    return f"store-{number % markets}/product-{number // markets}"


def entries(units: Iterable[str], time_zone: str) -> Iterator[Record]:
    for name in units:
        yield plain(CatalogEntry(unit=name, time_zone=time_zone, currency=CURRENCY, list_price_minor=LIST_PRICE))


def publish(settings: Settings, topic: str, records: Iterable[Record]) -> int:
    """Write records where the contract puts them; returns their number once they are acknowledged."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 5_000_000, "linger.ms": 20}
    )
    name, count = settings.prefixed(topic), 0
    for count, record in enumerate(records, 1):
        home = partition_of(record.key or b"", settings.partitions)
        headers: list[Any] = list(record.headers)
        producer.produce(name, record.value, record.key, home, headers=headers)
        if count % 5000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0
    return count


def fill_catalog(settings: Settings, units: Sequence[str], time_zone: str) -> None:
    publish(settings, CATALOG, entries(units, time_zone))


def start_worker(
    sandbox: Sandbox, settings: Settings, name: str = "worker", profile: str = "", **more: object
) -> Child:
    """A worker as it is installed; ``profile``: a file for what cProfile has seen of it."""
    how = ["-m", "cProfile", "-o", profile] if profile else []
    environment = worker_environment(settings, **more)
    return sandbox.start(name, [sys.executable, *how, "-m", "flipside", "worker"], environment)


def noon_zone(now: datetime) -> str:
    """A zone in which it is about noon: far from any midnight."""
    return f"Etc/GMT{now.hour - 12:+d}"


def tomorrow(now: datetime, time_zone: str) -> tuple[date, datetime]:
    """The next local day, and its first instant."""
    day = (now + timedelta(hours=12 - now.hour)).date() + timedelta(days=1)
    return day, day_start(day, time_zone)
