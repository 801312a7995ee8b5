"""Snapshots: what the ledger holds, with the offsets up to which it was read, so that a restart need not read the log.

A folder holds numbered snapshots, each a folder of Parquet files and one JSON file; a snapshot is written beside its
place and moved there when it is whole, so that a crash leaves the one before. A ledger that was read from a snapshot
and went on publishes the same bytes as one that read the whole log.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.panel_data.assignment_columns import COLUMNS, Bucket, Holds, packed
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.market_book import Book
from analysis.panel_data.sales_columns import Day
from controller.errors import FlipsideError
from controller.messages.codec import read
from controller.messages.control import Entered
from controller.messages.events import PeriodClosed, Registered

FORMAT = 4
WORDS = "snapshot.json"
NUMBERED = "snapshot-"
#: so many snapshots are kept: the newest, and the one before in case the newest was made by a mistake
KEPT = 2
ROWS = ("quantity", "revenue", "cost", "events", "revision", "late")
#: the parts of a book that are columns of instants
BOOKS = ("assignments", "reports", "stock", "rivals")

#: rows of a table that are written and read at once: bounds the memory
ROWS_AT_ONCE = 16

#: "topic/partition" -> next offset
Positions = Mapping[str, int]


class Part(NamedTuple):
    """The columns of one market: of a day's sales, or of what takes effect on one UTC day."""

    market: str
    #: the day: proleptic ordinal, or counted from 1970
    number: int
    #: of each column
    length: int
    #: unit-days and events, of a day's sales
    counts: tuple[int, int]
    columns: tuple[NDArray[np.integer], ...]


class UnusableSnapshot(FlipsideError):
    """A snapshot cannot be read. Nothing is lost: delete it, and the worker reads the log."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ledger, the positions up to which it was read, and the closings that were read but do not count yet."""

    ledger: Ledger
    positions: Positions
    #: each with the positions that must be reached before it counts
    closings: tuple[tuple[Positions, PeriodClosed], ...]


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot; returns its folder. Older ones but the last are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _numbers(folder)
    target = folder / f"{NUMBERED}{max(found, default=0) + 1:08d}"
    draft = folder / f".{target.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    ledger = snapshot.ledger
    words = {
        "format": FORMAT,
        "positions": dict(snapshot.positions),
        "closings_held": [[dict(ends), closing.model_dump(mode="json")] for ends, closing in snapshot.closings],
        "registered": [message.model_dump(mode="json") for message in ledger.registered],
        "units": {market: list(book.rows.slots) for market, book in ledger.books.items()},
        "closings": [one.model_dump(mode="json") for book in ledger.books.values() for one in book.closings.values()],
        "categories": ledger.categories,
        "waiting": ledger.waiting_for_units(),
        "triggers": [
            [*study, trigger, at.isoformat(), market, cluster]
            for study, found in ledger.triggers.items()
            for trigger, (at, market, cluster) in found.items()
        ],
        "entered": [one.model_dump(mode="json") for found in ledger.entered.values() for one in found.values()],
    }
    _write(draft / "rows.parquet", _rows_of(ledger), ROWS)
    for kind in BOOKS:
        _write(draft / f"{kind}.parquet", _holds_of(ledger, kind), COLUMNS)
    (draft / WORDS).write_text(json.dumps(words))
    for path in draft.iterdir():
        _flush(path)
    os.replace(draft, target)
    _flush(folder)
    for number in sorted(_numbers(folder))[:-KEPT]:
        shutil.rmtree(folder / f"{NUMBERED}{number:08d}")
    return target


def load(folder: Path) -> Snapshot | None:
    """The newest snapshot of a folder; None where there is none.

    Raises:
        UnusableSnapshot: it is of another format, or broken.
    """
    numbers = _numbers(folder)
    if not numbers:
        return None
    source = folder / f"{NUMBERED}{max(numbers):08d}"
    try:
        words = json.loads((source / WORDS).read_text())
        if words["format"] != FORMAT:
            raise UnusableSnapshot(f"{source} is of format {words['format']}, and this code reads {FORMAT}: delete it")
        return Snapshot(
            _ledger(source, words),
            words["positions"],
            tuple((ends, _closing(closing)) for ends, closing in words["closings_held"]),
        )
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UnusableSnapshot(f"{source} cannot be read ({error}): delete it, and the log is read instead") from error


def _ledger(source: Path, words: Mapping[str, Any]) -> Ledger:
    ledger = Ledger()
    for registered in words["registered"]:
        ledger.fold(read(Registered, json.dumps(registered).encode()))
    for market, units in words["units"].items():
        for unit in units:
            ledger.books[market].rows.slot(unit)
    for market, number, _, (rows, events), columns in _read(source / "rows.parquet", ROWS):
        quantity, revenue, cost = (column.astype(np.int64) for column in columns[:3])
        counted, revision, late = (column.astype(np.int32) for column in columns[3:])
        held = Day(quantity, revenue, cost, counted, revision, late, rows, events)
        held.count_unsold()
        ledger.books[market].rows.days[date.fromordinal(number)] = held
    for kind in BOOKS:
        for market, number, _, _, columns in _read(source / f"{kind}.parquet", COLUMNS):
            _holds(ledger.books[market], kind).buckets[number] = Bucket(columns)
    ledger.categories = words["categories"]
    ledger.wait_for_units(words.get("waiting", {}))
    for experiment, version, trigger, at, market, cluster in words["triggers"]:
        ledger.triggers[experiment, version][trigger] = (datetime.fromisoformat(at), market, cluster)
    for entered in words["entered"]:
        ledger.fold(read(Entered, json.dumps(entered).encode()))
    for closing in words["closings"]:
        ledger.fold(_closing(closing))
    return ledger


def _rows_of(ledger: Ledger) -> Iterator[Part]:
    for market, book in ledger.books.items():
        for day, held in book.rows.days.items():
            used = min(len(book.rows.slots), len(held.revision))
            columns = tuple(packed(column[:used]) for column in held.columns())
            yield Part(market, day.toordinal(), used, (held.rows, held.total_events), columns)


def _holds_of(ledger: Ledger, kind: str) -> Iterator[Part]:
    for market, book in ledger.books.items():
        for number, bucket in _holds(book, kind).buckets.items():
            columns = tuple(bucket.sorted().values())
            yield Part(market, number, len(columns[0]), (0, 0), columns)


def _holds(book: Book, kind: str) -> Holds:
    held: Holds = getattr(book, kind)
    return held


def _write(path: Path, parts: Iterable[Part], names: Sequence[str]) -> None:
    """One row a part, its columns as the bytes that they are in memory: to read them is to copy them."""
    schema = pa.schema(
        [
            ("market", pa.string()),
            ("number", pa.int64()),
            ("length", pa.int64()),
            ("total_rows", pa.int64()),
            ("total_events", pa.int64()),
            *((name, pa.large_binary()) for name in names),
            *((f"{name}_kind", pa.string()) for name in names),
        ]
    )
    every = iter(parts)
    with pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=False, write_statistics=False) as writer:
        while some := list(islice(every, ROWS_AT_ONCE)):
            rows = [
                (
                    *(part.market, part.number, part.length, *part.counts),
                    *(_stored(column).tobytes() for column in part.columns),
                    *(column.dtype.str for column in part.columns),
                )
                for part in some
            ]
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _stored(column: NDArray[np.integer]) -> NDArray[np.integer]:
    """A column of one value is stored as that."""
    return column[:1] if column.strides == (0,) else column


def _read(path: Path, names: Sequence[str]) -> Iterator[Part]:
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, use_threads=False):
        heads = [
            batch.column(name).to_pylist() for name in ("market", "number", "length", "total_rows", "total_events")
        ]
        kinds = [batch.column(f"{name}_kind").to_pylist() for name in names]
        for row, (market, number, length, rows, events) in enumerate(zip(*heads, strict=True)):
            columns = []
            for name, kind in zip(names, kinds, strict=True):
                stored = np.frombuffer(batch.column(name)[row].as_buffer(), dtype=kind[row])
                columns.append(stored.copy() if len(stored) == length else np.broadcast_to(stored.copy(), length))
            yield Part(market, number, length, (rows, events), tuple(columns))


def _closing(value: Any) -> PeriodClosed:
    return read(PeriodClosed, json.dumps(value).encode())


def _numbers(folder: Path) -> list[int]:
    """The numbers of the whole snapshots in a folder."""
    return [int(path.parent.name.removeprefix(NUMBERED)) for path in folder.glob(f"{NUMBERED}*/{WORDS}")]


def _flush(path: Path) -> None:
    """Make sure that a file, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
