"""What people are shown of other people's texts: it says what they say, and neither terminal nor page obeys it."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from controller.definition.error_messages import printable
from flipside.terminal.escape import cell, csv_cell, safe

HOSTILE = (
    "x [/nope] y",
    "[/b]",
    "\x1b]0;title\x07\x1b[31mred",
    "a\u202eb",
    "\ud800",
    "line\rover",
    "[link=http://x]y[/link]",
)


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_of_a_text(text: str) -> None:
    assert all(line.isprintable() for line in safe(text).split("\n"))
    assert safe("Zoë, 5 €, 价格") == "Zoë, 5 €, 价格"


@given(st.text(max_size=50), st.integers(3, 40))
def test_a_text_is_cut_where_it_is_too_long(text: str, longest: int) -> None:
    assert len(printable(text, longest)) <= longest


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_shows_markup_as_it_is_written(text: str) -> None:
    shown, table = Console(file=io.StringIO(), width=200, force_terminal=True), Table("reason")
    table.add_row(cell(text))
    shown.print(table)
    found = shown.file.getvalue()  # type: ignore[attr-defined]
    assert printable(text).split()[0] in found
    assert "\x1b]" not in found
    assert "\x07" not in found


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@sum", "\t=1", 7, -7.5, None, "plain"])
def test_a_cell_of_csv_is_no_formula_and_a_number_stays_one(value: object) -> None:
    text = io.StringIO()
    csv.writer(text).writerow([csv_cell(value)])
    begins_well = not text.getvalue().lstrip('"').startswith(("=", "+", "@", "\t"))
    assert begins_well
    assert csv_cell(7) == 7
    assert csv_cell(-7.5) == -7.5
    assert csv_cell("-1") == "'-1"
