"""A file as columns of text or of its own types: separator, encoding and damaged lines are dealt with here."""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from flipside.sales_history.faults import PARQUET, UnreadableSales

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: bytes of the beginning by which a separator is told
LOOKED_AT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Raw:
    """Columns as they stand in the file."""

    path: Path
    table: pa.Table
    #: None for Parquet
    separator: str | None


def read_raw(path: Path) -> Raw:
    """A CSV (``.csv``, ``.csv.gz``, any other suffix) as text, a Parquet file as it is typed.

    Raises:
        UnreadableSales: no file, an empty one, one column, no rows, or lines that differ in their number of columns.
    """
    if not path.is_file():
        raise UnreadableSales(f"{path} is not a file: give a table of sales, CSV (.csv) or Parquet (.parquet)")
    if path.suffix.lower() in PARQUET:
        try:
            table = pa.parquet.read_table(path)
        except pa.ArrowInvalid as error:
            raise UnreadableSales(f"{path} cannot be read as Parquet: {error}") from error
        return _checked(Raw(path, table, None))
    beginning = _beginning(path)
    separator = separator_of(beginning)
    header = header_of(beginning, separator)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UnreadableSales(f"{path}, line 1: the column {twice[0]!r} stands there twice; rename one")
    if len(header) < 2:
        raise UnreadableSales(_one_column(path, header))
    try:
        table = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values='"' in beginning),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in header}, strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid as error:
        raise UnreadableSales(
            f"{path}: {_reason(error)}; the first line has {len(header)} columns, separated by {SEPARATORS[separator]}:"
            " every line needs as many, and quotes where a text holds the separator"
        ) from error
    return _checked(Raw(path, table, separator))


def column_names(path: Path) -> list[str]:
    """The columns of a table, without reading it.

    Raises:
        UnreadableSales: an empty file, or one that is no text and no Parquet.
    """
    if path.suffix.lower() in PARQUET:
        try:
            return list(pa.parquet.read_schema(path).names)
        except pa.ArrowInvalid as error:
            raise UnreadableSales(f"{path} cannot be read as Parquet: {error}") from error
    beginning = _beginning(path)
    return header_of(beginning, separator_of(beginning))


def _checked(raw: Raw) -> Raw:
    if len(raw.table.column_names) < 2:
        raise UnreadableSales(_one_column(raw.path, raw.table.column_names))
    if raw.table.num_rows == 0:
        raise UnreadableSales(f"{raw.path} has a header and no rows: give a row for each sale, day or week")
    return raw


def _one_column(path: Path, header: Sequence[str]) -> str:
    return (
        f"{path} has one column, {header[0] if header else ''!r}: a table of sales has store, product, time and"
        f" quantity at least, separated by one of {', '.join(SEPARATORS.values())}"
    )


def _beginning(path: Path) -> str:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        start = file.read(LOOKED_AT)
    if not start.strip():
        raise UnreadableSales(f"{path} is empty: a table of sales has a header, and a row for each sale, day or week")
    try:
        # The last character may be cut in two.
        return start.decode("utf-8-sig") if len(start) < LOOKED_AT else start[: start.rindex(b"\n")].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = start[: error.start].count(b"\n") + 1
        raise UnreadableSales(
            f"{path}, line {bad}: not UTF-8 text ({error.reason}); save it as CSV in UTF-8"
        ) from error


def separator_of(beginning: str) -> str:
    """The separator that cuts the header into most columns."""
    header = beginning.splitlines()[0]
    return max(SEPARATORS, key=lambda separator: len(next(csv.reader([header], delimiter=separator), [])))


def header_of(beginning: str, separator: str) -> list[str]:
    """Names of the columns."""
    return next(csv.reader(io.StringIO(beginning), delimiter=separator), [])


def _reason(error: Exception) -> str:
    said = str(error).removeprefix("CSV parse error: ")
    return said if len(said) < 300 else said[:300] + " ..."
