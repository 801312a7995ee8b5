"""What `streams.store.trigger_port` asks for, in this process's memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from streams.store import LogRecord, OutboxEntry
from streams.store.trigger_port import PRICES, Histories


class OwnedShard(Protocol):
    """What is needed of a shard in memory."""

    outbox: list[OutboxEntry]

    def own(self, epoch: int) -> None: ...

    def next_id(self) -> str: ...


class MemoryTriggers:
    """See `streams.store.trigger_port.TriggerStore`; shares its state with the store that it belongs to."""

    def __init__(
        self,
        shards: Sequence[OwnedShard],
        positions: dict[tuple[str, int], int],
        histories: dict[tuple[int, str], dict[str, str]],
    ) -> None:
        self._shards = shards
        self._positions = positions
        self._histories = histories
        self._answered: dict[int, int] = {}
        self._clusters: dict[int, dict[str, str]] = {}

    async def fold(self, partition: int, start: int, end: int, histories: Histories) -> bool:
        place = (PRICES, partition)
        if self._positions.get(place, 0) != start:
            return self._positions.get(place, 0) == end
        for watch, texts in histories.items():
            self._histories.setdefault((partition, watch), {}).update(texts)
        self._positions[place] = end
        return True

    async def histories(self, partition: int, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        known = {watch: self._histories.get((partition, watch), {}) for watch in wanted}
        return {
            watch: {name: known[watch][name] for name in names if name in known[watch]}
            for watch, names in wanted.items()
        }

    async def rivals(self, partition: int, watch: str) -> frozenset[str]:
        return frozenset(self._histories.get((partition, watch), {}))

    async def enrolments(self, shard: int) -> tuple[int, dict[str, str]]:
        return self._answered.get(shard, 0), dict(self._clusters.get(shard, {}))

    async def enrol(
        self,
        shard: int,
        epoch: int,
        clusters: Mapping[str, str],
        records: Sequence[LogRecord],
        position: int,
    ) -> None:
        held = self._shards[shard]
        held.own(epoch)
        if self._answered.get(shard, 0) >= position:
            return
        self._clusters.setdefault(shard, {}).update(clusters)
        if records:
            held.outbox.append(OutboxEntry(held.next_id(), epoch, records=tuple(records)))
        self._answered[shard] = position

    async def begun(self, shard: int, epoch: int, clusters: Mapping[str, str]) -> None:
        if not clusters:
            return
        self._shards[shard].own(epoch)
        self._clusters.setdefault(shard, {}).update(clusters)


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store.trigger_port import TriggerStore

    _PORT: type[TriggerStore] = MemoryTriggers
