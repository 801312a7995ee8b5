"""Lists of records: an id, a state or a day is never cut, however narrow the terminal."""

import io

import pytest
from rich.console import Console

from flipside.terminal.record_list import print_records

COLUMNS = ("id", "when", "reason", "value", "standing")
ROWS = [
    ("demo.pricing.experiment.sale.v1/3/1234567", "2026-11-24 20:34:42", "unit_not_in_catalog", "x" * 60, "sent again"),
    ("demo.pricing.experiment.sale.v1/0/17", "2026-11-24 20:35:00", "late", "[/b] short", "dead"),
]


def printed(width: int, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_records(COLUMNS, ROWS, title="letters", console=console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_nothing_is_cut_on_a_terminal_of_any_width(width: int) -> None:
    shown = printed(width, terminal=True)
    assert max(map(len, shown)) <= width
    assert "…" not in "".join(shown)
    together = "".join(line.strip() for line in shown)
    for row in ROWS:
        for value in row:
            assert "".join(value.split()) in "".join(together.split()), value


def test_at_eighty_columns_each_record_is_a_block_of_names_and_values() -> None:
    assert printed(80, terminal=True)[-5:] == [
        "id        demo.pricing.experiment.sale.v1/0/17",
        "when      2026-11-24 20:35:00                 ",
        "reason    late                                ",
        "value     [/b] short                          ",
        "standing  dead                                ",
    ]


def test_where_there_is_room_it_is_a_table() -> None:
    shown = printed(200, terminal=True)
    assert "standing" in shown[2]
    assert len(shown) == 3 + 1 + len(ROWS) + 1


def test_a_pipe_gets_one_line_a_record_to_search() -> None:
    (found,) = [line for line in printed(80, terminal=False) if "1234567" in line]
    assert all(value in found for value in ROWS[0])
