"""The part of the store that triggers need: what rivals did, and who has entered because of it.

A port of its own beside `streams.store.Store`, with the same two adapters and the same rules: every method may be
repeated, raises CannotReach where the store does not answer and StoreRefuses where it cannot write.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import TypeAdapter

from controller.decisions.enrolment import ClusterEntries
from streams.store import LogRecord

#: the input whose partitions these are
PRICES = "competitor-price"
#: what is known of a cluster, as it is kept
CLUSTER = TypeAdapter(ClusterEntries)
#: experiment.version -> unit|competitor -> what is remembered of that rival's price, as JSON
Histories = Mapping[str, Mapping[str, str]]


class TriggerStore(Protocol):
    """Inputs (a partition of the competitor-price topic) and shards, as in `streams.store.Store`."""

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def fold(self, partition: int, start: int, end: int, histories: Histories) -> bool:
        """Keep what is remembered of rivals once the records from ``start`` up to ``end`` are folded: all or nothing.

        Only if ``start`` is the stored position, which then is ``end``: so histories that were read at a position can
        be written back at it. False where the position is neither; a repetition of the latest batch changes nothing
        and is True.
        """
        ...

    async def histories(self, partition: int, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Those of the wanted histories that there are."""
        ...

    async def rivals(self, partition: int, watch: str) -> frozenset[str]:
        """unit|competitor of every history that there is of a watch (experiment.version)."""
        ...

    # --- shards -------------------------------------------------------------------------------------------------------

    async def enrolments(self, shard: int) -> tuple[int, dict[str, str]]:
        """The offset of the first trigger that is not yet answered, and what is known of each cluster, as JSON."""
        ...

    async def enrol(
        self,
        shard: int,
        epoch: int,
        clusters: Mapping[str, str],
        records: Sequence[LogRecord],
        position: int,
    ) -> None:
        """Record that triggers before offset ``position`` are answered, with the entries and log records of that.

        All or nothing; nothing where that offset, or a later one, was answered before. Raises Fenced.
        """
        ...

    async def begun(self, shard: int, epoch: int, clusters: Mapping[str, str]) -> None:
        """Entries whose units were told that they begin. Raises Fenced."""
        ...
