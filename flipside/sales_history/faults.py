"""What is wrong with a table of sales: named with its lines, the rule and the way out."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from controller.errors import InvalidPanel

#: lines, products or units that a message shows
SHOWN = 5


class UnreadableSales(InvalidPanel):
    """The owner's: a table of sales breaks a rule; the message names file, lines, value, rule and way out."""


def first_few(named: Sequence[object]) -> str:
    """``a, b, c ... (12 in all)``."""
    shown = ", ".join(str(one) for one in named[:SHOWN])
    return shown if len(named) <= SHOWN else f"{shown} ... ({len(named):,} in all)"


def at_lines(path: Path, rows: Sequence[int], values: Sequence[object]) -> str:
    """The first few rows as lines of the file, each with its value."""
    lines = line_numbers(path, rows[:SHOWN])
    named = [f"line {line} ({value})" for line, value in zip(lines, values, strict=False)]
    return ", ".join(named) + (f" ... ({len(rows):,} rows in all)" if len(rows) > SHOWN else "")


def line_numbers(path: Path, rows: Sequence[int]) -> list[int]:
    """Lines of a CSV on which rows (counted from 0, the header aside) stand; rows counted from 1 for other files.

    Empty lines hold no row, and a text in quotes may hold line breaks: the file is gone through once where a fault is
    told. A row's line is its first.
    """
    if path.suffix.lower() in PARQUET:
        return [row + 1 for row in rows]
    wanted, found, row, quoted = set(rows), {}, -2, False
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            inside = quoted
            # A quote in a quoted text is written twice, so that the parity of all quotes tells.
            quoted ^= line.count(b'"') % 2 == 1
            if line.strip() and not inside:
                row += 1
                if row in wanted:
                    found[row] = number
                    if len(found) == len(wanted):
                        break
    return [found.get(row, row + 2) for row in rows]


PARQUET = (".parquet", ".pq")
