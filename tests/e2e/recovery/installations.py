"""An installation whose Redis is rebuilt from the logs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controller.messages.codec import encode
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG
from streams.app import build_parts
from streams.control.catalog import Catalog
from streams.kafka.topics import create_topics
from streams.ownership.claims import append_ownership
from streams.recovery.rebuild import Rebuild
from streams.worker.services import Parts
from tests.e2e.running import Servers
from tests.streams.builders import MIDNIGHT

MARKETS = ("de", "fr", "at", "ch", "it", "es", "pl", "se")


@asynccontextmanager
async def installation(servers: Servers, namespace: str) -> AsyncIterator[tuple[Parts, Catalog]]:
    """Parts of a worker, and its catalog with a unit in each of some markets."""
    settings = servers.settings(namespace)
    await create_topics(settings)
    async with build_parts(settings, "one") as parts:
        entries = [
            CatalogEntry(unit=f"{market}/a", time_zone="UTC", currency="EUR", list_price_minor=100)
            for market in MARKETS
        ]
        await parts.publish(CATALOG, [encode(entry, entry.unit, MIDNIGHT) for entry in entries])
        catalog = Catalog(parts)
        await catalog.start()
        try:
            yield parts, catalog
        finally:
            await catalog.stop()


async def mended(parts: Parts, rebuild: Rebuild, shard: int) -> None:
    """A shard as its next owner has it."""
    epoch = await append_ownership(parts, shard)
    await parts.store.claim(shard, epoch)
    await rebuild.mend(shard, epoch)
