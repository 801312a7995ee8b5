"""Records as a list that cuts nothing: a table where its lines fit the terminal, a block a record where they do not."""

from collections.abc import Sequence

from rich.box import HEAVY_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from flipside.terminal.escape import cell, safe


def print_records(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    box: Box = HEAVY_HEAD,
    right: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Print records; ids, states and days are shown whole at any width.

    Args:
        columns: names, of the table's columns or of the lines of a block.
        rows: texts of anybody's, one for each column.
        right: columns of numbers.
        console: standard output where none is given. What is not a terminal gets a table of any width, so that each
            record is one line to search.
    """
    console = console or Console()
    shown = [[safe(value) for value in row] for row in rows]
    widths = [max(map(cell_len, (name, *(row[k] for row in shown)))) for k, name in enumerate(columns)]
    # A blank on either side of each column, and lines between.
    width = sum(widths) + 3 * len(columns) + 1
    if console.is_terminal and width > console.width:
        _print_blocks(columns, shown, title, console)
        return
    table = Table(title=title, title_justify="left", box=box)
    for name in columns:
        table.add_column(cell(name), justify="right" if name in right else "left", no_wrap=True)
    for row in shown:
        table.add_row(*map(cell, row))
    if not console.is_terminal:
        console = Console(file=console.file, width=max(width, console.width))
    console.print(table)


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None, console: Console) -> None:
    names = max(map(cell_len, columns))
    if title is not None:
        console.print(cell(title), style="italic")
    for number, row in enumerate(rows):
        if number:
            console.print()
        block = Table.grid(padding=(0, 2, 0, 0))
        block.add_column(width=names, no_wrap=True, style="bold")
        block.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            if value:
                block.add_row(name, cell(value))
        console.print(block)
