"""From a table (CSV, Parquet, pandas, Arrow) to a panel; what breaks a rule is named with its row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray, Panel
from controller.errors import InvalidPanel


def read_panel(
    path: Path,
    *,
    unit: str,
    time: str,
    outcome: str,
    treatment: str,
    covariates: Sequence[str] = (),
    cluster: str | None = None,
    leave_out: str | None = None,
    sort: bool = False,
) -> Panel:
    """Read a long table, one row for each unit and period; arguments as in `panel_from_table`.

    Raises:
        InvalidPanel: no such file, unreadable, or a rule of `panel_from_table` is broken.

    """
    if not path.is_file():
        raise InvalidPanel(f"{path} is not a file: give a CSV (.csv) or Parquet (.parquet) file")
    columns = [name for name in (unit, time, outcome, treatment, *covariates, cluster, leave_out) if name]
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            found = pyarrow.parquet.read_schema(path).names
            _refuse_missing_columns(columns, found)
            table = pyarrow.parquet.read_table(path, columns=list(dict.fromkeys(columns)))
        else:
            table = pyarrow.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise InvalidPanel(f"{path} cannot be read as {path.suffix or 'CSV'}: {error}") from error
    return panel_from_table(
        table,
        unit=unit,
        time=time,
        outcome=outcome,
        treatment=treatment,
        covariates=covariates,
        cluster=cluster,
        leave_out=leave_out,
        sort=sort,
    )


def panel_from_table(
    table: Any,
    *,
    unit: str,
    time: str,
    outcome: str,
    treatment: str,
    covariates: Sequence[str] = (),
    cluster: str | None = None,
    leave_out: str | None = None,
    sort: bool = False,
) -> Panel:
    """Fold a long table into a panel.

    A unit and period without a row is a missing cell; so is an empty outcome. Rows are counted from one, the header
    aside.

    Args:
        table: a pyarrow Table or a pandas DataFrame, one row for each unit and period.
        unit: column of labels.
        time: column of numbers, dates, or labels that sort as text (2026-03-01).
        outcome: column of numbers.
        treatment: column of 0 and 1 (or false and true).
        covariates: columns of numbers.
        cluster: column of labels, one for each unit.
        leave_out: column of reasons (washout, blackout); a cell with a reason is not used.
        sort: accept rows whose periods do not increase within a unit.

    Raises:
        InvalidPanel: a missing column, a value that breaks its column's rule, a unit and period given twice, or periods
            out of order; the message names the row, the rule and the way out.

    """
    if not isinstance(table, pa.Table):
        table = pa.table({str(name): _column(table[name]) for name in table.columns})
    wanted = [name for name in (unit, time, outcome, treatment, *covariates, cluster, leave_out) if name]
    _refuse_missing_columns(wanted, table.column_names)
    if table.num_rows == 0:
        raise InvalidPanel("the table has no rows: give one row for each unit and period")

    units, unit_of = _labels(table, unit)
    periods, period_of = _periods(table, time)
    cell = unit_of * len(periods) + period_of
    _refuse_repeated(cell, units, periods, len(periods))
    if not sort:
        _refuse_unsorted(unit_of, period_of, units, periods)

    treated = _treatment(table, treatment)
    outcomes = _numbers(table, outcome)
    for always, rule in (
        (~np.isfinite(outcomes), f"has no {outcome} in any of its {{}} row(s): leave the unit out"),
        (
            treated > 0,
            "is treated in each of its {} row(s), from its first period on: without a period before the treatment it "
            "has no counterfactual; leave the unit out, or add earlier periods",
        ),
    ):
        _refuse_whole_unit(always, rule, unit_of, units)
    shape = (len(units), len(periods))
    arm = np.full(shape, -1, dtype=np.int64)
    arm.flat[cell] = treated
    _refuse_uncontrolled(arm, unit_of, period_of, units, periods)
    return Panel(
        units=units,
        periods=periods,
        outcome=_spread(outcomes, cell, shape),
        arm=arm,
        left_out=() if leave_out is None else _reasons(table, leave_out, cell, shape),
        covariates=tuple((name, _spread(_numbers(table, name), cell, shape)) for name in covariates),
        clusters=None if cluster is None else _clusters(table, cluster, unit_of, units),
    )


def _refuse_missing_columns(wanted: Sequence[str], found: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            raise InvalidPanel(f"there is no column {name}: the table has {', '.join(found)}")


def _column(series: Any) -> pa.Array:
    """A pandas column; one of mixed types as text, so that the rule of the column can name the row that breaks it."""
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        missing = series.isna()
        return pa.array([None if gone else str(v) for v, gone in zip(series, missing, strict=True)], pa.string())


def _labels(table: pa.Table, name: str) -> tuple[tuple[str, ...], IntArray]:
    column = _no_nulls(table, name)
    labels, codes = np.unique(np.asarray(column.cast(pa.string()).to_pylist(), dtype=object), return_inverse=True)
    return tuple(labels.tolist()), codes.astype(np.int64)


def _periods(table: pa.Table, name: str) -> tuple[tuple[str, ...], IntArray]:
    column = _no_nulls(table, name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = np.asarray(column.to_pylist(), dtype=object)
    else:
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InvalidPanel(f"row {row + 1}: {name} is {values[row]}: every row needs a period")
    distinct, codes = np.unique(values, return_inverse=True)
    return tuple(_period_label(value) for value in distinct), codes.astype(np.int64)


def _period_label(value: Any) -> str:
    if isinstance(value, np.datetime64):
        text = str(value)
        return text.split("T")[0] if set(text.partition("T")[2]) <= set("0:.") else text
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _no_nulls(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InvalidPanel(f"row {row + 1}: {name} is empty: every row needs a value in {name}")
    return column


def _numbers(table: pa.Table, name: str) -> FloatArray:
    column = table.column(name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_null(column.type):
        return np.full(table.num_rows, np.nan)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        for row, value in enumerate(column.to_pylist()):
            if not _is_number(value):
                raise InvalidPanel(
                    f"row {row + 1}: {name} is {value!r}, which is no number: {name} must be numeric; "
                    "leave the cell empty where it is missing"
                )
        column = pa.chunked_array(
            [[None if v is None or str(v).strip() == "" else float(v) for v in column.to_pylist()]]
        )
    numbers = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0])
        raise InvalidPanel(f"row {row + 1}: {name} is infinite: values are finite, or empty where missing")
    return numbers


def _is_number(value: object) -> bool:
    if value is None or str(value).strip() == "":
        return True
    try:
        float(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _treatment(table: pa.Table, name: str) -> IntArray:
    values = _numbers(table, name)
    wrong = np.flatnonzero(~np.isin(values, (0.0, 1.0)))
    if wrong.size:
        value = table.column(name)[int(wrong[0])].as_py()
        raise InvalidPanel(
            f"row {wrong[0] + 1}: {name} is {'empty' if value is None else value}: a treatment is 0 or 1; "
            "recode doses and arms, one file for each comparison"
        )
    return values.astype(np.int64)


def _refuse_repeated(cell: IntArray, units: tuple[str, ...], periods: tuple[str, ...], n_periods: int) -> None:
    order = np.argsort(cell, kind="stable")
    again = np.flatnonzero(np.diff(cell[order]) == 0)
    if again.size:
        first, second = sorted((int(order[again[0]]), int(order[again[0] + 1])))
        unit, period = divmod(int(cell[first]), n_periods)
        raise InvalidPanel(
            f"row {second + 1}: {units[unit]} in {periods[period]} was already given in row {first + 1}: one row for "
            "each unit and period; sum or average them first"
        )


def _refuse_unsorted(unit_of: IntArray, period_of: IntArray, units: tuple[str, ...], periods: tuple[str, ...]) -> None:
    order = np.argsort(unit_of, kind="stable")
    backwards = np.flatnonzero((np.diff(unit_of[order]) == 0) & (np.diff(period_of[order]) < 0))
    if backwards.size:
        before, row = int(order[backwards[0]]), int(order[backwards[0] + 1])
        raise InvalidPanel(
            f"row {row + 1}: {units[unit_of[row]]} goes back from {periods[period_of[before]]} to "
            f"{periods[period_of[row]]}: periods must increase within a unit; sort the rows, or ask for sorting "
            "(--sort) if the order means nothing"
        )


def _refuse_whole_unit(wrong: BoolArray, rule: str, unit_of: IntArray, units: tuple[str, ...]) -> None:
    """Refuse a unit of which every row is wrong, naming its first; not where all are: another mistake."""
    counts = np.bincount(unit_of)
    whole = np.bincount(unit_of, wrong) == counts
    if whole.any() and not whole.all():
        unit = int(np.flatnonzero(whole)[0])
        row = int(np.flatnonzero(unit_of == unit)[0])
        raise InvalidPanel(f"row {row + 1}: {units[unit]} {rule.format(counts[unit])}")


def _refuse_uncontrolled(
    arm: IntArray, unit_of: IntArray, period_of: IntArray, units: tuple[str, ...], periods: tuple[str, ...]
) -> None:
    """Refuse a panel whose units are only ever treated all at once: no method tells that from the time itself."""
    treated = arm == 1
    together = treated.all(axis=0)
    if together.any() and not together.all() and not treated[:, ~together].any():
        row = int(np.argmax(arm[unit_of, period_of] == 1))
        raise InvalidPanel(
            f"row {row + 1}: {units[unit_of[row]]} is treated in {periods[period_of[row]]}, and whenever a unit is, "
            f"all {len(units)} are: without controls an effect cannot be told from the time; add units that are not "
            "treated"
        )


def _spread(values: FloatArray, cell: IntArray, shape: tuple[int, int]) -> FloatArray:
    grid = np.full(shape, np.nan)
    grid.flat[cell] = values
    return grid


def _reasons(table: pa.Table, name: str, cell: IntArray, shape: tuple[int, int]) -> Any:
    texts = ["" if value is None else str(value).strip() for value in table.column(name).to_pylist()]
    masks = []
    for reason in sorted({text for text in texts if text}):
        mask = np.zeros(shape, dtype=np.bool_)
        mask.flat[cell] = [text == reason for text in texts]
        masks.append((reason, mask))
    return tuple(masks)


def _clusters(table: pa.Table, name: str, unit_of: IntArray, units: tuple[str, ...]) -> tuple[str, ...]:
    labels, codes = _labels(table, name)
    cluster_of = np.full(len(units), -1, dtype=np.int64)
    for row, (unit, code) in enumerate(zip(unit_of.tolist(), codes.tolist(), strict=True)):
        if cluster_of[unit] not in (-1, code):
            raise InvalidPanel(
                f"row {row + 1}: {units[unit]} is in cluster {labels[code]}, but was in {labels[cluster_of[unit]]} "
                "before: a unit belongs to one cluster"
            )
        cluster_of[unit] = code
    return tuple(labels[code] for code in cluster_of.tolist())
