"""Tables that become panels, and tables that are refused with row, rule and way out."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest

from analysis.panel_data.panel import Panel
from analysis.panel_data.panel_files import panel_from_table, read_panel
from controller.errors import InvalidPanel

COLUMNS: dict[str, Any] = {"unit": "shop", "time": "day", "outcome": "sales", "treatment": "low"}
GOOD = [
    ("b", 1, 10.0, 0),
    ("b", 2, 11.0, 0),
    ("b", 3, 12.0, 1),
    ("a", 1, 20.0, 0),
    ("a", 2, 21.0, 0),
    ("a", 3, 22.5, 0),
]


def table(rows: Sequence[tuple[object, ...]] | None = None) -> pandas.DataFrame:
    return pandas.DataFrame(GOOD if rows is None else rows, columns=list(COLUMNS.values()))


def panel(rows: Sequence[tuple[object, ...]] | None = None, **options: Any) -> Panel:
    return panel_from_table(table(rows), **COLUMNS, **options)


def changed(row: int, column: str, value: object) -> list[tuple[object, ...]]:
    """GOOD with one value changed; rows count from one, as messages do."""
    k = list(COLUMNS.values()).index(column)
    return [tuple(value if (i, j) == (row - 1, k) else v for j, v in enumerate(r)) for i, r in enumerate(GOOD)]


def test_units_are_sorted_and_periods_are_in_order() -> None:
    found = panel()
    assert found.units == ("a", "b")
    assert found.periods == ("1", "2", "3")
    np.testing.assert_array_equal(found.outcome, [[20, 21, 22.5], [10, 11, 12]])
    np.testing.assert_array_equal(found.arm, [[0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_csv_parquet_and_pandas_give_the_same_panel(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"panel.{suffix}"
    if suffix == "csv":
        table().to_csv(path, index=False)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pandas(table()), path)
    read, folded = read_panel(path, **COLUMNS), panel()
    assert (read.units, read.periods) == (folded.units, folded.periods)
    np.testing.assert_array_equal(read.outcome, folded.outcome)
    np.testing.assert_array_equal(read.arm, folded.arm)


def test_a_row_that_is_not_there_and_an_empty_outcome_are_missing_never_zero() -> None:
    found = panel(changed(2, "sales", None)[:-1])
    assert np.isnan(found.outcome[1, 1])
    assert np.isnan(found.outcome[0, 2])
    assert found.arm[0, 2] == -1
    np.testing.assert_array_equal(found.observed, [[True, True, False], [True, False, True]])


def test_dates_label_periods_by_day() -> None:
    rows = [(u, date(2026, 3, d), y, w) for u, d, y, w in GOOD]
    assert panel(rows).periods == ("2026-03-01", "2026-03-02", "2026-03-03")


def test_yes_and_no_are_a_treatment() -> None:
    rows = [(u, t, y, bool(w)) for u, t, y, w in GOOD]
    np.testing.assert_array_equal(panel(rows).arm, panel().arm)


def test_reasons_to_leave_cells_out_become_masks() -> None:
    frame = table()
    frame["why"] = ["", "washout", "", None, "", "blackout"]
    found = panel_from_table(frame, **COLUMNS, leave_out="why")
    assert [reason for reason, _ in found.left_out] == ["blackout", "washout"]
    assert found.usable.sum() == 4


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (3, "sales", "twelve", r"row 3: sales is 'twelve', which is no number.*leave the cell empty"),
        (4, "sales", np.inf, r"row 4: sales is infinite"),
        (5, "low", 2, r"row 5: low is 2: a treatment is 0 or 1"),
        (5, "low", 0.5, r"row 5: low is 0.5: a treatment is 0 or 1"),
        (5, "low", None, r"row 5: low is empty: a treatment is 0 or 1"),
        (6, "low", "yes", r"row 6: low is 'yes', which is no number"),
        (2, "shop", None, r"row 2: shop is empty"),
        (2, "day", None, r"row 2: day is empty|row 2: day is nan"),
        (3, "day", 2, r"row 3: b in 2 was already given in row 2.*sum or average"),
    ],
)
def test_a_value_that_breaks_its_rule_is_named_with_its_row(row: int, column: str, value: object, message: str) -> None:
    with pytest.raises(InvalidPanel, match=message):
        panel(changed(row, column, value))


def test_periods_that_run_backwards_are_refused_unless_sorting_is_asked_for() -> None:
    rows = [GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]]
    with pytest.raises(InvalidPanel, match=r"row 3: b goes back from 3 to 2.*--sort"):
        panel(rows)
    np.testing.assert_array_equal(panel(rows, sort=True).outcome, panel().outcome)


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidPanel, match="there is no column price: the table has shop, day, sales, low"):
        panel_from_table(table(), **{**COLUMNS, "outcome": "price"})


def test_a_unit_in_two_clusters_is_refused() -> None:
    frame = table()
    frame["city"] = ["x", "x", "y", "z", "z", "z"]
    with pytest.raises(InvalidPanel, match="row 3: b is in cluster y, but was in x before"):
        panel_from_table(frame, **COLUMNS, cluster="city")
    frame["city"] = ["x"] * 3 + ["z"] * 3
    assert panel_from_table(frame, **COLUMNS, cluster="city").clusters == ("z", "x")


def test_no_file_no_rows_and_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPanel, match="is not a file"):
        read_panel(tmp_path / "none.csv", **COLUMNS)
    with pytest.raises(InvalidPanel, match="no rows"):
        panel([])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(InvalidPanel, match="cannot be read"):
        read_panel(broken, **COLUMNS)
