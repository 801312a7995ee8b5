"""Two workers that count the same input again, for the length of a rebalance: one of them waits, and nobody ends."""

from typing import Any, cast

import pytest
import structlog

from controller.errors import CannotReach
from streams.inputs.recount import Recount
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from streams.store import Store
from streams.worker.metrics import Metrics
from streams.worker.services import Parts


class Overtaken:
    """A store in which somebody else begins right after us."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def restoring(self) -> "Overtaken":
        return Overtaken(self._store.restoring)

    async def begin_input(self, topic: str, partition: int, token: str) -> None:
        await self._store.begin_input(topic, partition, token)
        await self._store.begin_input(topic, partition, "somebody else's")


async def test_whoever_is_overtaken_while_it_counts_again_waits_and_looks_again(store: Store) -> None:
    none = cast(Any, None)
    parts = Parts(
        Settings(partitions=2),
        WallClock(),
        cast(Store, Overtaken(store)),
        none,
        Metrics(),
        structlog.get_logger(),
        "one",
    )
    with pytest.raises(CannotReach, match="another worker counts it again"):
        await Recount(parts, none).mend("competitor-price", 0, None)
    assert not await store.restoring.with_position("competitor-price", [0])
