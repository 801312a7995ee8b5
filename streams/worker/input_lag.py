"""How far an input is behind its end: for the metrics, and for the watchdog to see what stands still."""

from datetime import datetime

from controller.definition.field_types import milliseconds
from streams.worker.services import Parts


class Progress:
    """The partitions of one input that this worker folds."""

    def __init__(self, parts: Parts, short: str) -> None:
        self._parts = parts
        self._short = short
        #: partition -> instant (ms) at which its last folded record was published
        self._published: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        #: partition -> (records, seconds) that it is behind
        self._behind: dict[int, tuple[int, float]] = {}

    def folded(self, partition: int, published_ms: int) -> None:
        """A batch was dealt with, and its last record is this old."""
        self._published[partition] = published_ms

    def stands(self, partition: int, reached: int, end: int, now: datetime) -> None:
        """A turn has left the partition at ``reached`` where ``end`` is its end, as far as the broker has told."""
        records = max(0, end - reached)
        since = self._published.get(partition)
        seconds = (milliseconds(now) - since) / 1000 if records and since is not None else 0.0
        self._behind[partition] = (records, max(0.0, seconds))
        name = f"{self._short}-{partition}"
        if records:
            self._parts.pulse.follow(name, moved=self._reached.get(partition) != reached)
        else:
            self._parts.pulse.forget(name)
        self._reached[partition] = reached
        self._tell()

    def reads(self, partitions: int) -> None:
        """So many partitions are read by this worker now."""
        self._parts.metrics.inputs_read.labels(self._short).set(partitions)

    def drop(self, partition: int) -> None:
        """The partition is somebody else's."""
        for kept in (self._published, self._reached, self._behind):
            kept.pop(partition, None)
        self._parts.pulse.forget(f"{self._short}-{partition}")
        self._tell()

    def _tell(self) -> None:
        behind = self._behind.values()
        self._parts.metrics.lag_records.labels(self._short).set(sum(records for records, _ in behind))
        self._parts.metrics.lag_seconds.labels(self._short).set(max((seconds for _, seconds in behind), default=0.0))
