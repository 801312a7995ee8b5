"""Dates in text: one format a file, told from all its values together; or numbered days and weeks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flipside.sales_history.faults import UnreadableSales, at_lines
from flipside.sales_history.numerals import Coded, coded

#: spelling -> (pattern of three numbers, their order)
FORMATS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "YYYY-MM-DD": (re.compile(r"^(\d{4})-(\d{1,2})-(\d{1,2})$"), "ymd"),
    "YYYY/MM/DD": (re.compile(r"^(\d{4})/(\d{1,2})/(\d{1,2})$"), "ymd"),
    "YYYYMMDD": (re.compile(r"^((?:19|20)\d{2})(\d{2})(\d{2})$"), "ymd"),
    "DD.MM.YYYY": (re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})$"), "dmy"),
    "DD.MM.YY": (re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{2})$"), "dmy"),
    "DD-MM-YYYY": (re.compile(r"^(\d{1,2})-(\d{1,2})-(\d{4})$"), "dmy"),
    "DD/MM/YYYY": (re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})$"), "dmy"),
    "MM/DD/YYYY": (re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})$"), "mdy"),
}
ISO_WEEK = re.compile(r"^(\d{4})-?W(\d{1,2})$")
#: a time of day, then Z or the hours and minutes from UTC
OFFSET = r"[ T]\d{1,2}:\d{2}.*(?:[Zz]|[+-]\d{2}:?\d{2})\s*$"
WHOLE = re.compile(r"^\d{1,6}$")
SLASHED = ("DD/MM/YYYY", "MM/DD/YYYY")


@dataclass(frozen=True, slots=True)
class Days:
    """When each row was: ``number`` counts days since 1970-01-01, or weeks or days of the owner's own count."""

    number: npt.NDArray[np.int64]
    #: how the file writes them
    spelling: str
    #: whether ``number`` counts from 1970-01-01
    calendar: bool
    #: days between two neighbouring numbers: 7 for numbered weeks
    step_days: int
    #: what is to be said of time stamps
    note: str | None = None


def days_of(path: Path, name: str, column: pa.ChunkedArray) -> Days:
    """The day of each row.

    Raises:
        UnreadableSales: an empty or unreadable date, several formats, or days and months that cannot be told apart.
    """
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return _typed(path, name, column)
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    note = _offsets(path, name, column)
    found = coded(pc.replace_substring_regex(column, pattern=r"^\s*([^ T]+)[ T].*$", replacement=r"\1"))
    if (found.codes < 0).any():
        rows = [int(row) for row in np.flatnonzero(found.codes < 0)]
        raise UnreadableSales(
            f"{path}: {name} is empty on {at_lines(path, rows, ['empty'] * len(rows))}: every row has its day"
        )
    spellings = {value: _spellings(value) for value in found.values}
    unread = [number for number, value in enumerate(found.values) if not spellings[value]]
    if unread:
        rows = found.rows_with(unread)
        said = at_lines(path, rows, [repr(found.values[found.codes[row]]) for row in rows[:5]])
        raise UnreadableSales(
            f"{path}: {name} is no day on {said}: write {', '.join(FORMATS)}, 2026-W05, or numbers of weeks or days"
        )
    common = set.intersection(*(set(several) for several in spellings.values()))
    if not common:
        raise UnreadableSales(_mixed(path, name, found, spellings))
    if set(SLASHED) <= common:
        example = found.values[0]
        raise UnreadableSales(
            f"{path}: {name} like {example} may be day/month or month/day, and no value tells: write YYYY-MM-DD"
        )
    spelling = next(iter(sorted(common)))
    read, calendar, step = _reader(spelling, name)
    try:
        distinct = np.array([read(value) for value in found.values], dtype=np.int64)
    except ValueError as error:
        bad = next(number for number, value in enumerate(found.values) if not _reads(read, value))
        rows = found.rows_with([bad])
        said = at_lines(path, rows, [found.values[bad]] * len(rows))
        raise UnreadableSales(f"{path}: {name} is no day of the calendar on {said}: {error}") from error
    return Days(distinct[found.codes], spelling, calendar, step, note)


def _offsets(path: Path, name: str, column: pa.ChunkedArray) -> str | None:
    """A warning where time stamps carry an offset, whose written day need not be the store's."""
    carry = pc.fill_null(pc.match_substring_regex(column, pattern=OFFSET), fill_value=False)
    rows = pc.indices_nonzero(carry)
    if not len(rows):
        return None
    first = int(rows[0].as_py())
    said = at_lines(path, [first], [column[first].as_py()])
    return (
        f"warning: {len(rows):,} values of {name} carry an offset from UTC, {said}: the day is the one that is written;"
        " where that is not the store's own midnight to midnight, write local times"
    )


def _spellings(value: str) -> tuple[str, ...]:
    fits = [name for name, (pattern, order) in FORMATS.items() if (m := pattern.match(value)) and _possible(m, order)]
    if ISO_WEEK.match(value):
        fits.append("YYYY-Www")
    if WHOLE.match(value):
        fits.append("numbers")
    return tuple(fits)


def _possible(match: re.Match[str], order: str) -> bool:
    parts = dict(zip(order, (int(part) for part in match.groups()), strict=True))
    return 1 <= parts["m"] <= 12 and 1 <= parts["d"] <= 31


def _reader(spelling: str, name: str) -> tuple[Callable[[str], int], bool, int]:
    if spelling == "numbers":
        return int, False, 7 if "week" in name.lower() else 1
    if spelling == "YYYY-Www":
        return _iso_week, True, 1
    pattern, order = FORMATS[spelling]

    def read(value: str) -> int:
        match = pattern.match(value)
        assert match is not None
        parts = dict(zip(order, (int(part) for part in match.groups()), strict=True))
        year = parts["y"] + (2000 if parts["y"] < 100 else 0)
        return (date(year, parts["m"], parts["d"]) - date(1970, 1, 1)).days

    return read, True, 1


def _iso_week(value: str) -> int:
    match = ISO_WEEK.match(value)
    assert match is not None
    return (date.fromisocalendar(int(match[1]), int(match[2]), 1) - date(1970, 1, 1)).days


def _reads(read: Callable[[str], int], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def _typed(path: Path, name: str, column: pa.ChunkedArray) -> Days:
    if column.null_count:
        rows = [int(row) for row in np.flatnonzero(column.is_null().to_numpy())]
        said = at_lines(path, rows, ["empty"] * len(rows))
        raise UnreadableSales(f"{path}: {name} is empty on {said}: every row has its day")
    note = None
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        note = f"the days of {name} are those of its own time zone, {column.type.tz}"
        column = pc.local_timestamp(column)
    days = column.cast(pa.timestamp("us")).cast(pa.date32(), safe=False).cast(pa.int32()).to_numpy()
    return Days(np.asarray(days, dtype=np.int64), str(column.type), True, 1, note)


def _mixed(path: Path, name: str, found: Coded, spellings: Mapping[str, tuple[str, ...]]) -> str:
    """The formats of which no two share a value, each with the line where it stands first."""
    kinds: dict[str, list[int]] = {}
    for number, value in enumerate(found.values):
        kinds.setdefault(" or ".join(spellings[value]), []).append(number)
    said = []
    for kind, several in kinds.items():
        rows = found.rows_with(several)
        said.append(f"{kind} on {len(rows):,} rows, {at_lines(path, rows[:1], [found.values[found.codes[rows[0]]]])}")
    return f"{path}: {name} is written in several ways: {'; '.join(said)}: write one of them throughout"
