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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.holds import COLUMNS, Bucket, Holds, packed
from analysis.ledger import Book, Ledger
from analysis.rows import Day
from controller.codec import read
from controller.control import Entered
from controller.errors import FlipsideError
from controller.events import PeriodClosed, Registered

FORMAT = 2
WORDS = "snapshot.json"
NUMBERED = "snapshot-"
#: so many snapshots are kept: the newest, and the one before in case the newest was made by a mistake
KEPT = 2
ROWS = ("quantity", "revenue", "cost", "events", "revision")
#: the parts of a book that are columns of instants
BOOKS = ("assignments", "reports", "stock", "rivals")

#: "topic/partition" -> next offset
Positions = Mapping[str, int]


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
        "triggers": [
            [*study, trigger, at.isoformat(), market, cluster]
            for study, found in ledger.triggers.items()
            for trigger, (at, market, cluster) in found.items()
        ],
        "entered": [one.model_dump(mode="json") for found in ledger.entered.values() for one in found.values()],
        "rows": _write_rows(draft, ledger),
        **{kind: _write_holds(draft, kind, ledger) for kind in BOOKS},
    }
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
    _read_rows(source, words["rows"], ledger)
    for kind in BOOKS:
        _read_holds(source, kind, words[kind], ledger)
    ledger.categories = words["categories"]
    for experiment, version, trigger, at, market, cluster in words["triggers"]:
        ledger.triggers[experiment, version][trigger] = (datetime.fromisoformat(at), market, cluster)
    for entered in words["entered"]:
        ledger.fold(read(Entered, json.dumps(entered).encode()))
    for closing in words["closings"]:
        ledger.fold(_closing(closing))
    return ledger


def _write_rows(draft: Path, ledger: Ledger) -> list[tuple[str, str, int, int, int]]:
    """One long table of the days' columns; returns market, day, slots, rows and events of each, in order."""
    index, columns = [], []
    for market, book in ledger.books.items():
        for day, held in book.rows.days.items():
            used = min(len(book.rows.slots), len(held.revision))
            index.append((market, str(day), used, held.rows, held.total_events))
            columns.append(tuple(column[:used] for column in held.columns()))
    _write(draft / "rows.parquet", dict(zip(ROWS, _joined(columns, len(ROWS)), strict=True)))
    return index


def _read_rows(source: Path, index: Iterable[tuple[str, str, int, int, int]], ledger: Ledger) -> None:
    index = list(index)
    table = pq.read_table(source / "rows.parquet")
    kinds = (np.int64, np.int64, np.int64, np.int32, np.int32)
    columns = [table.column(name).to_numpy().astype(kind, copy=False) for name, kind in zip(ROWS, kinds, strict=True)]
    for (market, day, _, rows, events), (begin, end) in zip(index, _bounds(one[2] for one in index), strict=True):
        quantity, revenue, cost, counted, revision = (column[begin:end].copy() for column in columns)
        held = Day(quantity, revenue, cost, counted, revision, rows, events)
        ledger.books[market].rows.days[date.fromisoformat(day)] = held


def _write_holds(draft: Path, kind: str, ledger: Ledger) -> list[tuple[str, int, int]]:
    """One long table of the buckets' columns; returns market, UTC day and length of each, in order."""
    index, columns = [], []
    for market, book in ledger.books.items():
        for number, bucket in _holds(book, kind).buckets.items():
            rows = bucket.sorted()
            index.append((market, number, len(rows["slot"])))
            columns.append(tuple(rows[name] for name in COLUMNS))
    _write(draft / f"{kind}.parquet", dict(zip(COLUMNS, _joined(columns, len(COLUMNS)), strict=True)))
    return index


def _read_holds(source: Path, kind: str, index: Iterable[tuple[str, int, int]], ledger: Ledger) -> None:
    index = list(index)
    bounds = list(_bounds(one[2] for one in index))
    parts: list[list[NDArray[np.integer]]] = [[] for _ in index]
    for name in COLUMNS:  # one at a time: they are small again before the next is read
        column = pq.read_table(source / f"{kind}.parquet", columns=[name]).column(0).to_numpy()
        for part, (begin, end) in zip(parts, bounds, strict=True):
            part.append(packed(column[begin:end]))
    for (market, number, _), part in zip(index, parts, strict=True):
        _holds(ledger.books[market], kind).buckets[number] = Bucket(tuple(part))


def _holds(book: Book, kind: str) -> Holds:
    held: Holds = getattr(book, kind)
    return held


def _joined(columns: Sequence[tuple[NDArray[Any], ...]], width: int) -> list[NDArray[np.integer]]:
    return [packed(np.concatenate([row[k] for row in columns]).astype(np.int64)) if columns else np.zeros(0, np.int64)
            for k in range(width)]  # fmt: skip


def _write(path: Path, columns: Mapping[str, NDArray[np.integer]]) -> None:
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    pq.write_table(table, path, compression="lz4", use_dictionary=False, write_statistics=False)


def _bounds(lengths: Iterable[int]) -> Iterator[tuple[int, int]]:
    begin = 0
    for length in lengths:
        yield begin, begin + length
        begin += length


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
