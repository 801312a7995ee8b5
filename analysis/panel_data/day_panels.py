"""An experiment's unit-days as a panel: from a table (Parquet, CSV, pandas), or from what the worker holds.

Unlike in `panel_files`, arms have names and change from day to day. What breaks a
rule is named with its row.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.panel_data import panel_files as files
from analysis.panel_data.panel import FloatArray, IntArray, Panel
from analysis.panel_data.study import State, UnitDays, outcome
from controller.errors import InvalidPanel


def panel_of_days(
    table: Any,
    arms: Sequence[str],
    *,
    unit: str = "unit",
    day: str = "day",
    arm: str = "arm",
    value: str = "quantity",
    exposure: str | None = None,
    currency: str | None = None,
    leave_out: str | None = None,
    cluster: str | None = None,
    sort: bool = False,
    gaps: bool = False,
) -> Panel:
    """Fold a long table, one row for each unit and day, into a panel.

    A unit and day without a row, and an empty value, are missing cells; an empty arm is none. Rows are counted from
    one, the header aside. Money columns need ``currency``: a sum over two currencies is no number.

    Args:
        table: a pyarrow Table or a pandas DataFrame.
        arms: the experiment's arms, control first.
        unit, day, arm, value: columns; days are dates.
        exposure: column of hours for which a cell was under its arm.
        currency: column of the currency of ``value``.
        leave_out: column of reasons; a cell with a reason is not used.
        cluster: column of labels, one for each unit.
        sort: accept rows whose days do not increase within a unit.
        gaps: accept days between the first and the last of which there is no row at all.

    Raises:
        InvalidPanel: a value that breaks its column's rule, a unit and day given twice, days out of order or left out,
            an unknown arm, a negative exposure, an infinite value, a second currency; with the row and the way out.
    """
    if not isinstance(table, pa.Table):
        table = pa.table({str(name): files._column(table[name]) for name in table.columns})
    wanted = [name for name in (unit, day, arm, value, exposure, currency, leave_out, cluster) if name]
    files._refuse_missing_columns(wanted, table.column_names)
    if table.num_rows == 0:
        raise InvalidPanel("the table has no rows: give one row for each unit and day")
    units, unit_of = files._labels(table, unit)
    days, day_of = files._periods(table, day)
    cell = unit_of * len(days) + day_of
    files._refuse_repeated(cell, units, days, len(days))
    if not sort:
        files._refuse_unsorted(unit_of, day_of, units, days)
    if not gaps:
        _refuse_gaps(days, day_of, day)
    if currency is not None:
        _refuse_currencies(table, currency)
    shape = (len(units), len(days))
    shown = np.full(shape, -1, dtype=np.int64)
    shown.flat[cell] = _arms(table, arm, arms)
    return Panel(
        units=units,
        periods=days,
        outcome=files._spread(files._numbers(table, value), cell, shape),
        arm=shown,
        arms=tuple(arms),
        exposure=None if exposure is None else files._spread(_exposures(table, exposure), cell, shape),
        left_out=() if leave_out is None else files._reasons(table, leave_out, cell, shape),
        clusters=None if cluster is None else files._clusters(table, cluster, unit_of, units),
    )


def panel_of_unit_days(
    days: UnitDays, units: Sequence[str], clusters: Sequence[str], arms: Sequence[str], metric: str
) -> Panel:
    """What the worker read from Kafka, as a panel: the days since the start, with what is left out by reason."""
    state = days.state[days.before :].T
    first = days.first_day + timedelta(days=days.before)
    reasons = [one for one in State if (state == one).any()]
    return Panel(
        units=tuple(units),
        periods=tuple(str(first + timedelta(days=k)) for k in range(state.shape[1])),
        outcome=outcome(days, metric, rows=slice(days.before, None)).T,
        arm=np.where(state >= 0, state, -1).astype(np.int64),
        arms=tuple(arms),
        left_out=tuple((one.name.lower(), np.asarray(state == one)) for one in reasons),
        clusters=tuple(clusters[number] for number in days.cluster),
    )


def _arms(table: pa.Table, name: str, arms: Sequence[str]) -> IntArray:
    number = {arm: index for index, arm in enumerate(arms)}
    found = np.full(table.num_rows, -1, dtype=np.int64)
    for row, label in enumerate(table.column(name).cast(pa.string()).to_pylist()):
        if label is None or not label.strip():
            continue
        if label not in number:
            raise InvalidPanel(
                f"row {row + 1}: {name} is {label}: the arms are {', '.join(arms)}; leave it empty if none"
            )
        found[row] = number[label]
    return found


def _exposures(table: pa.Table, name: str) -> FloatArray:
    hours = files._numbers(table, name)
    wrong = np.flatnonzero(hours < 0)
    if wrong.size:
        row = int(wrong[0])
        raise InvalidPanel(f"row {row + 1}: {name} is {hours[row]:g}: a cell is exposed to its arm for 0 hours or more")
    return hours


def _refuse_currencies(table: pa.Table, name: str) -> None:
    labels = files._no_nulls(table, name).cast(pa.string()).to_pylist()
    for row, label in enumerate(labels):
        if label != labels[0]:
            raise InvalidPanel(
                f"row {row + 1}: {name} is {label}, but row 1 has {labels[0]}: one currency in a panel; convert, or"
                " analyse each currency's markets on their own"
            )


def _refuse_gaps(days: tuple[str, ...], day_of: IntArray, name: str) -> None:
    try:
        calendar = np.array(days, dtype="datetime64[D]")
    except ValueError as error:
        raise InvalidPanel(f"{name} holds {days[0]}, which is no day: write 2026-03-01") from error
    gap = np.flatnonzero(np.diff(calendar) > np.timedelta64(1, "D"))
    if gap.size:
        after = int(gap[0]) + 1
        row = int(np.flatnonzero(day_of == after)[0])
        raise InvalidPanel(
            f"row {row + 1}: {name} goes from {days[after - 1]} to {days[after]}: no unit has a row in between; add the"
            " days, or ask for gaps if nothing was open"
        )
