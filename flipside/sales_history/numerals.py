"""Numbers in text: which mark is the decimal one, told from all values of a file together."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.panel_data.panel import FloatArray, IntArray
from flipside.sales_history.faults import UnreadableSales, at_lines

#: decides for a decimal comma, for a decimal point; 1,234 and 1.234 alone decide nothing
COMMA = re.compile(r"^[+-]?(?:\d{1,3}(?:\.\d{3})+,\d+|\d*,(?:\d{1,2}|\d{4,}))$|^[+-]?(?:\d{4,},\d{3}|0,\d+)$")
POINT = re.compile(r"^[+-]?(?:\d{1,3}(?:,\d{3})+\.\d+|\d*\.(?:\d{1,2}|\d{4,}))$|^[+-]?(?:\d{4,}\.\d{3}|0\.\d+)$")
NUMBER = {
    ",": re.compile(r"^[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d*)?$"),
    ".": re.compile(r"^[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d+)?$"),
}


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as its distinct values and the value of each row; -1: empty."""

    values: list[str]
    codes: IntArray

    def rows_with(self, wrong: Iterable[int]) -> list[int]:
        """Rows that hold one of these values, in order."""
        return [int(row) for row in np.flatnonzero(np.isin(self.codes, list(wrong)))]


def coded(column: pa.ChunkedArray) -> Coded:
    """The distinct texts of a column, without blanks around them."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks == 1 else pc.dictionary_encode(column.combine_chunks())
    codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    values = [str(value).strip() for value in encoded.dictionary.to_pylist()]
    empty = [number for number, value in enumerate(values) if value == ""]
    return Coded(values, np.where(np.isin(codes, empty), -1, codes) if empty else codes)


def decimal_mark(path: Path, columns: Mapping[str, Coded], separator: str | None) -> str:
    """The decimal mark of a file.

    Raises:
        UnreadableSales: some values can only have a comma, others only a point.
    """
    found: dict[str, tuple[str, Coded, int]] = {}
    for name, column in columns.items():
        for number, value in enumerate(column.values):
            for mark, only in ((",", COMMA), (".", POINT)):
                if mark in value and mark not in found and only.match(value):
                    found[mark] = (name, column, number)
    if len(found) == 2:
        said = "; ".join(
            f"{name}: {at_lines(path, column.rows_with([number])[:1], [column.values[number]])}"
            for name, column, number in found.values()
        )
        raise UnreadableSales(f"{path}: decimal commas and decimal points in one file, {said}: write one of them")
    if found:
        return next(iter(found))
    return "," if separator == ";" else "."


def numbers(path: Path, name: str, column: Coded, mark: str) -> FloatArray:
    """A number a row, NaN where empty.

    Raises:
        UnreadableSales: a text that is no number, with its lines.
    """
    thousands = "." if mark == "," else ","
    wrong = [
        number
        for number, value in enumerate(column.values)
        if value and not (NUMBER[mark].match(value) and any(sign.isdigit() for sign in value))
    ]
    if wrong:
        rows = column.rows_with(wrong)
        said = at_lines(path, rows, [repr(column.values[column.codes[row]]) for row in rows[:5]])
        example = "3,49 or 1.250,00" if mark == "," else "3.49 or 1,250.00"
        raise UnreadableSales(
            f"{path}: {name} is no number on {said}: numbers of this file are written like {example}, without a"
            " currency sign"
        )
    plain = [value.replace(thousands, "").replace(mark, ".") if value else "nan" for value in column.values]
    distinct = np.array([float(value) for value in plain] + [np.nan])
    return distinct[column.codes]
