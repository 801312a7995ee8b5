"""Attributes of units, from a file, a frame, or a catalog: what is known of each from before an experiment."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from controller.errors import InvalidPanel

#: column that says when a row's attributes were measured
MEASURED = "measured_at"
#: columns of a catalog entry that say nothing of who responds
NOT_ATTRIBUTES = ("unit", "version", "time_zone", "currency")
#: a year, a month, a day or an instant, as ISO 8601 spells it
ISO = re.compile(r"\d{4}(-\d\d(-\d\d.*)?)?")
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Attributes:
    """A row for each unit, a column for each attribute."""

    #: what errors call it: a path, or "attributes"
    source: str
    units: tuple[str, ...]
    #: each as long as ``units``; None where it is not known
    columns: Mapping[str, Sequence[Any]]

    def of(self, units: Sequence[str]) -> "Attributes":
        """The rows of these units in their order; None throughout where one has no row."""
        place = {name: k for k, name in enumerate(self.units)}
        found = self.rows([place.get(name) for name in units])
        return replace(found, units=tuple(units))

    def rows(self, numbers: Sequence[int | None]) -> "Attributes":
        """The rows of these numbers; an empty one for each None."""
        columns = {
            name: [None if row is None else values[row] for row in numbers] for name, values in self.columns.items()
        }
        return Attributes(self.source, tuple("" if row is None else self.units[row] for row in numbers), columns)

    def only(self, names: Sequence[str]) -> "Attributes":
        """Some of the columns; raises InvalidPanel for one that is not there."""
        self._must_have(names)
        return replace(self, columns={name: self.columns[name] for name in names})

    def from_before(self, start: str, measured: str | None = None) -> "Attributes":
        """The same without the column of days of measurement, after a look at it.

        Args:
            start: label of the first treated period.
            measured: the column; absent, ``measured_at`` where there is one.

        Raises:
            InvalidPanel: no such column, a value that is no day, or a day on or after the start: what the treatment may
                have moved is an outcome.

        """
        if measured is not None:
            self._must_have([measured])
        column = MEASURED if measured is None else measured
        if column not in self.columns:
            return self
        days = {unit: _day(self.source, column, value) for unit, value in self._known(column)}
        late = {unit: day for unit, day in days.items() if day >= start}
        if late:
            unit = min(late)
            raise InvalidPanel(
                f"{self.source}: attributes of {unit} were measured at {late[unit]} ({column}; {len(late)} unit(s) in "
                f"all), and the treatment begins at {start}: what is measured after the start may be an outcome; give "
                "the last values from before the start"
            )
        return replace(self, columns={name: values for name, values in self.columns.items() if name != column})

    def _known(self, name: str) -> list[tuple[str, Any]]:
        return [(unit, v) for unit, v in zip(self.units, self.columns[name], strict=True) if not absent(v)]

    def _must_have(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self.columns]
        if unknown:
            raise InvalidPanel(f"{self.source} has no attribute {unknown[0]}: it has {', '.join(self.columns)}")


def read_attributes(path: Path, unit: str = "unit") -> Attributes:
    """Read CSV, Parquet, or a catalog of one JSON object a line.

    Args:
        path: the file; its ending says what it is.
        unit: the column that names units.

    Raises:
        InvalidPanel: no such file or column, or a unit that has two rows.

    """
    if not path.is_file():
        raise InvalidPanel(f"{path} does not exist: give attributes as .csv, .parquet, or a catalog as .jsonl")
    try:
        table = _table(path)
    except (pa.ArrowInvalid, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidPanel(f"{path} cannot be read as {path.suffix or 'CSV'}: {error}") from error
    columns = {
        name: table.column(name).to_pylist()
        for name in table.column_names
        if not pa.types.is_nested(table.column(name).type)
    }
    return _by_unit(str(path), columns, unit)


def attributes_of_frame(frame: Any, unit: str = "unit") -> Attributes:
    """The same from a pandas frame; raises as `read_attributes`."""
    columns = {str(name): frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    return _by_unit("attributes", columns, unit)


def absent(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, or an empty text."""
    return (
        value is None
        or (isinstance(value, float) and bool(np.isnan(value)))
        or (isinstance(value, str) and not value.strip())
    )


def numbers(values: Sequence[Any]) -> bool:
    """Whether all values are numbers; True and False are none."""
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)


def _by_unit(source: str, columns: Mapping[str, list[Any]], unit: str) -> Attributes:
    if unit not in columns:
        raise InvalidPanel(f"{source}: there is no column {unit}: it has {', '.join(columns)}; name it with --unit")
    units = tuple(str(value) for value in columns[unit])
    seen: set[str] = set()
    for row, name in enumerate(units, start=1):
        if name in seen:
            raise InvalidPanel(f"{source}: row {row} has attributes of {name} a second time: give one row to each unit")
        seen.add(name)
    return Attributes(source, units, {name: values for name, values in columns.items() if name != unit})


def _table(path: Path) -> pa.Table:
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        return pyarrow.parquet.read_table(path)
    if ending in (".jsonl", ".ndjson"):
        rows = [_flat(json.loads(line)) for line in path.read_text().splitlines() if line.strip()]
        names = sorted({name for row in rows for name in row} - set(NOT_ATTRIBUTES))
        plain = [n for n in names if not any(isinstance(row.get(n), list | dict) for row in rows)]
        return pa.table({"unit": [row.get("unit") for row in rows], **{n: [row.get(n) for row in rows] for n in plain}})
    return pyarrow.csv.read_csv(path)


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """A catalog entry with its ``attributes`` beside the fields that all entries have."""
    more = entry.get("attributes")
    return {**more, **entry} if isinstance(more, dict) else entry


def _day(source: str, column: str, value: Any) -> str:
    said = value.isoformat() if isinstance(value, date) else str(value)
    if not ISO.fullmatch(said):
        raise InvalidPanel(f"{source}: {column} is {said!r}: write a day as 2026-01-31, so that it can be compared")
    return said
