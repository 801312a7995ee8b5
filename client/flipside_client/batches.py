"""Records of which a header's name is no UTF-8: aiokafka (0.14) raises on one, and its partition never goes on.

Kafka takes any bytes as the name of a header. Batches are read by aiokafka as ever; only one that it cannot read is
read here again, with such names kept as Python keeps foreign bytes in text (``surrogateescape``), so that they can be
written again as they were.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

#: where a batch says how long it is, where its records begin, and which format it has
LENGTH_AT, LOG_OVERHEAD, MAGIC_AT = 8, 12, 16
Headers = list[tuple[str, bytes | None]]


class Row(NamedTuple):
    """A record as aiokafka's fetcher expects it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    checksum: None = None


class Batches:
    """The batches of one answer of a broker; what aiokafka calls ``MemoryRecords``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        #: the batch that was asked for last
        self.last = b""

    def size_in_bytes(self) -> int:
        return len(self._data)

    def _end(self) -> int | None:
        """Where the next batch ends; None where there is none, or only its beginning."""
        if len(self._data) - self._at < LOG_OVERHEAD:
            return None
        length = int.from_bytes(self._data[self._at + LENGTH_AT : self._at + LOG_OVERHEAD], signed=True)
        end = self._at + LOG_OVERHEAD + length
        return end if self._at + MAGIC_AT < end <= len(self._data) else None

    def has_next(self) -> bool:
        return self._end() is not None

    def next_batch(self) -> Any:
        end = self._end()
        if end is None:
            return None
        self.last, self._at = self._data[self._at : end], end
        magic = self.last[MAGIC_AT]
        # Before format 2 a record has no headers.
        return LegacyRecordBatch(self.last, magic) if magic < 2 else DefaultRecordBatch(self.last)


class AnyHeaders(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition; the rest of a batch that aiokafka cannot read is read here."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        while True:
            try:
                yield from super()._unpack_records()
            except UnicodeDecodeError:
                last, reached = self._records.last, int(self.next_fetch_offset)
                for row in rows(last):
                    if row.offset >= reached:
                        self.next_fetch_offset = row.offset + 1
                        yield self._consumer_record(self._tp, row)
                # A batch that was compacted may end after its last record.
                self.next_fetch_offset = max(reached, DefaultRecordBatch(last).next_offset)
            else:
                return


def rows(data: bytes) -> list[Row]:
    """The records of a batch, whatever their headers are called; raises ValueError or IndexError for a broken one."""
    batch: Any = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    stamped, buffer, at = batch.timestamp_type, batch._buffer, batch._pos
    found: list[Row] = []
    for _ in range(batch._num_records):
        _, at = decode_varint(buffer, at)  # its length
        _, at = decode_varint(buffer, at)  # attributes: none are in use
        since_first, at = decode_varint(buffer, at)
        timestamp = batch.max_timestamp if stamped == 1 else batch.first_timestamp + since_first
        offset, at = decode_varint(buffer, at)
        key, at = _text(buffer, at)
        value, at = _text(buffer, at)
        count, at = decode_varint(buffer, at)
        headers: Headers = []
        for _ in range(count):
            name, at = _text(buffer, at)
            said, at = _text(buffer, at)
            headers.append(((name or b"").decode(errors="surrogateescape"), said))
        found.append(Row(batch.base_offset + offset, timestamp, stamped, key, value, headers))
    return found


def _text(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (None, at) if length < 0 else (bytes(buffer[at : at + length]), at + length)


def read_any_header_name() -> None:
    """Make the consumers of this process read such records; may be called again. Others are read as before."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = AnyHeaders
