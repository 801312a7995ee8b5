"""A market's assignments as columns: which one stood over a unit on each local day.

Held by the UTC day on which they take effect, about ten bytes each: a column of one value is stored once. The order in
which they were read does not matter; what stands is the highest (effective_at, epoch, sequence).
"""

from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import IntArray

#: no end of the lease
FOREVER = np.iinfo(np.int64).max
#: a unit over which nothing ever stood
NOTHING = -1

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_US = 86_400_000_000

Integers = IntArray

#: the columns of an assignment, in the order by which it stands or falls; the rest breaks ties between contradictions
COLUMNS = ("effective_at", "epoch", "sequence", "expires_at", "study", "arm", "code", "slot")


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970, exactly."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def packed(column: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same values in as little room as they need."""
    if len(column) and (column == column[0]).all():
        return np.broadcast_to(column[:1].copy(), column.shape)
    smallest = np.min_scalar_type(int(column.min())) if len(column) else np.dtype(np.int8)
    largest = np.min_scalar_type(int(column.max())) if len(column) else np.dtype(np.int8)
    kind = np.promote_types(smallest, largest)
    return column.astype(kind if np.issubdtype(kind, np.integer) else np.int64)


@dataclass(slots=True)
class Bucket:
    """The assignments that take effect on one UTC day, sorted by ``COLUMNS``."""

    columns: tuple[NDArray[np.integer], ...] = tuple(np.zeros(0, dtype=np.int8) for _ in COLUMNS)
    #: read since they were sorted, one row of ``COLUMNS`` after the other
    fresh: "array[int]" = field(default_factory=lambda: array("q"))

    def sorted(self) -> dict[str, NDArray[np.integer]]:
        """The columns by name; what was read since goes to its place, repetitions go."""
        if self.fresh:
            fresh = np.frombuffer(self.fresh, dtype=np.int64).reshape(-1, len(COLUMNS)).T
            whole = [np.concatenate([old.astype(np.int64), new]) for old, new in zip(self.columns, fresh, strict=True)]
            telling = [column for column in whole if (column != column[0]).any()] or whole[-1:]
            order = np.lexsort(telling[::-1])
            differs = [np.diff(column[order]) != 0 for column in telling]
            kept = order[np.r_[True, np.logical_or.reduce(differs)]]
            self.columns = tuple(packed(column[kept]) for column in whole)
            self.fresh = array("q")
        return dict(zip(COLUMNS, self.columns, strict=True))


@dataclass(slots=True)
class Standing:
    """What stands over each unit at an instant."""

    #: microseconds since 1970
    at: int
    #: (U,) when the lease ends
    expires_at: Integers
    #: (U,) number of the experiment and version, of the arm, of the reason's code; NOTHING where nothing ever stood
    study: Integers
    arm: Integers
    code: Integers


class Holds:
    """All assignments read of a market."""

    def __init__(self) -> None:
        #: UTC day, counted from 1970
        self.buckets: dict[int, Bucket] = {}
        #: the last answer of `standing`, to go on from
        self._standing: Standing | None = None
        #: the last question to `during`, and its answer: experiments of one market ask alike
        self._during: tuple[tuple[int, int], dict[str, Integers]] | None = None

    def put(
        self, slot: int, effective_at: int, expires_at: int, epoch: int, sequence: int, study: int, arm: int, code: int
    ) -> None:
        """Take an assignment in. Instants in microseconds since 1970; study, arm and code as numbers of names."""
        bucket = self.buckets.get(effective_at // DAY_US)
        if bucket is None:
            bucket = self.buckets[effective_at // DAY_US] = Bucket()
        bucket.fresh.extend((effective_at, epoch, sequence, expires_at, study, arm, code, slot))
        if self._standing is not None and effective_at <= self._standing.at:
            self._standing = None
        self._during = None

    def standing(self, at: int, units: int) -> Standing:
        """What stands over the first ``units`` slots at an instant: of all that took effect up to it, the newest.

        The answer is good until the next question. Going forward in time costs what took effect in between, going back
        starts from the beginning.
        """
        held = self._standing
        if held is not None and held.at == at and len(held.study) >= units:
            return held
        if held is None or held.at > at:
            held = Standing(np.iinfo(np.int64).min, *(np.full(0, NOTHING, dtype=np.int64) for _ in range(4)))
        columns = [_grown(column, units) for column in (held.expires_at, held.study, held.arm, held.code)]
        for number in sorted(number for number in self.buckets if held.at // DAY_US <= number <= at // DAY_US):
            rows = self.buckets[number].sorted()
            after = rows["effective_at"]
            since = np.flatnonzero((after > held.at) & (after <= at))
            last = since[_last_of_each(rows["slot"][since])]
            if len(last) < len(after):
                rows = {name: column[last] for name, column in rows.items()}
            if len(last):  # units of other experiments in the market, too
                columns = [_grown(column, int(rows["slot"].max()) + 1) for column in columns]
            for column, name in zip(columns, ("expires_at", "study", "arm", "code"), strict=True):
                column[rows["slot"]] = rows[name]
        self._standing = Standing(at, *columns)
        return self._standing

    def during(self, start: int, end: int) -> dict[str, Integers]:
        """The columns of what takes effect strictly between two instants."""
        if self._during is not None and self._during[0] == (start, end):
            return self._during[1]
        numbers = sorted(number for number in self.buckets if start // DAY_US <= number <= end // DAY_US)
        found = [self.buckets[number].sorted() for number in numbers]
        masks = [(rows["effective_at"] > start) & (rows["effective_at"] < end) for rows in found]
        answer = {
            name: np.concatenate([rows[name][mask].astype(np.int64) for rows, mask in zip(found, masks, strict=True)])
            if found
            else np.zeros(0, dtype=np.int64)
            for name in COLUMNS
        }
        self._during = (start, end), answer
        return answer


def _last_of_each(slots: NDArray[np.integer]) -> Integers:
    """Where each slot occurs for the last time."""
    if len(slots) and int(np.bincount(slots).max()) == 1:  # nearly always: an assignment a day
        return np.arange(len(slots))
    reversed_first = np.unique(slots[::-1], return_index=True)[1]
    return np.asarray(len(slots) - 1 - reversed_first)


def _grown(column: Integers, units: int) -> Integers:
    if len(column) >= units:
        return column
    larger = np.full(max(units, len(column)), NOTHING, dtype=np.int64)
    larger[: len(column)] = column
    return larger
