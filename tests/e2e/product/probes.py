"""What a worker's probes answer."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from flipside.replay.processes import Child
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.parts.ports import free_port

Ask = Callable[[str], Awaitable[tuple[int, str]]]


@asynccontextmanager
async def probed(settings: Settings, folder: Path) -> AsyncIterator[tuple[Child, Ask]]:
    """A worker process, and a way to ask its probes; (0, "") while nobody listens."""
    port = free_port()
    environment = {
        "FLIPSIDE_KAFKA": settings.kafka,
        "FLIPSIDE_REDIS": settings.redis.get_secret_value(),
        "FLIPSIDE_NAMESPACE": settings.namespace,
        "FLIPSIDE_PARTITIONS": str(settings.partitions),
        "FLIPSIDE_CLOCK": settings.clock,
        "FLIPSIDE_METRICS_PORT": str(port),
    }

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    await create_topics(settings)
    worker = Child("worker", ["worker"], environment, folder)
    await worker.start()
    try:
        yield worker, lambda path: asyncio.to_thread(ask, path)
    finally:
        await worker.stop()
