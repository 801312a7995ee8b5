"""Attributes of units as a matrix: numbers as they are, texts as columns of 0 and 1, and what was dropped."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import InvalidPanel, NotEstimable

#: a text with more levels than this would be a column for almost every unit
MOST_LEVELS = 50
#: column of an attribute file that says when the row's attributes were measured
MEASURED = "measured_at"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is known of N units from before the start."""

    #: names of the attributes that vary
    names: tuple[str, ...]
    #: (N, p)
    matrix: FloatArray
    #: p names of the columns: ``price``, ``shelf=top``
    columns: tuple[str, ...]
    #: (p,) index into ``names``
    attribute_of: IntArray
    #: (N,) the category of each unit, which forecasts are shrunk to; zeros without one
    category: IntArray
    #: what was dropped or merged, a sentence each
    notes: tuple[str, ...]


def attributes_of(
    frame: Any,
    units: tuple[str, ...],
    *,
    unit: str = "unit",
    category: str | None = None,
    start: str,
    drop_incomplete: bool = False,
) -> tuple[Attributes, tuple[bool, ...]]:
    """Attributes of the units, in their order, and which units have them all.

    Args:
        frame: a pandas frame, one row for each unit; a column ``measured_at`` is compared with the start.
        units: labels of the panel.
        unit: the column that names them.
        category: the attribute that forecasts are shrunk to; absent, ``category`` where there is one.
        start: label of the first treated period.
        drop_incomplete: leave out units without all attributes; otherwise they are refused.

    Raises:
        InvalidPanel: no such column, a unit given twice, units without attributes, attributes measured after the start.
        NotEstimable: no attribute varies.

    """
    import pandas as pd

    names = [str(name) for name in frame.columns]
    if unit not in names:
        raise InvalidPanel(f"there is no column {unit}: the attributes have {', '.join(names)}")
    wanted = category if category is not None else ("category" if "category" in names else None)
    if wanted is not None and wanted not in names:
        raise InvalidPanel(f"there is no attribute {wanted} to shrink forecasts to: there are {', '.join(names)}")
    table = frame.copy()
    table.columns = names
    labels = table[unit].astype(str)
    twice = labels[labels.duplicated()]
    if len(twice):
        raise InvalidPanel(f"unit {twice.iloc[0]} has two rows of attributes: give each unit one")
    table = table.set_index(labels).reindex(list(units))
    _refuse_late(table, start)
    given = [name for name in names if name not in (unit, MEASURED)]
    whole = table[given].notna().all(axis=1).to_numpy() if given else np.ones(len(units), bool)
    if not whole.all() and not drop_incomplete:
        first = units[int(np.flatnonzero(~whole)[0])]
        lacking = [name for name in given if pd.isna(table[name].loc[first])]
        raise InvalidPanel(
            f"{int((~whole).sum())} of {len(units)} units lack attributes, {first} the first ({', '.join(lacking)}): "
            "the rest can be compared if they are left out (--drop-incomplete), but not these; or give each a value"
        )
    return _encoded(table[whole], given, wanted), tuple(bool(one) for one in whole)


def _refuse_late(table: Any, start: str) -> None:
    """Refuse attributes measured at or after the start: what the treatment may have moved is an outcome."""
    import pandas as pd

    if MEASURED not in table.columns:
        return
    try:
        when, begun = pd.to_datetime(table[MEASURED]), pd.Timestamp(start)
        late = (when >= begun).to_numpy()
    except (ValueError, TypeError):
        late = (table[MEASURED].astype(str) >= start).to_numpy() & table[MEASURED].notna().to_numpy()
    if late.any():
        row = int(np.flatnonzero(late)[0])
        raise InvalidPanel(
            f"attributes of {table.index[row]} were measured at {table[MEASURED].iloc[row]}, and the treatment "
            f"began at {start}: what it may have moved is an outcome; give attributes from before the start"
        )


def _encoded(table: Any, given: list[str], category: str | None) -> Attributes:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    parts: list[FloatArray] = []
    columns: list[str] = []
    of: list[int] = []
    names: list[str] = []
    notes: list[str] = []
    for name in given:
        values = table[name]
        if values.nunique() < 2:
            notes.append(f"attribute {name} is the same for all units: it can tell none apart, and is left out")
            continue
        if is_numeric_dtype(values) and not is_bool_dtype(values):
            numbers = values.to_numpy(dtype=np.float64)
            if not np.isfinite(numbers).all():
                unit = table.index[int(np.flatnonzero(~np.isfinite(numbers))[0])]
                raise InvalidPanel(f"attribute {name} of {unit} is infinite: give a finite number")
            found = [(name, numbers)]
        else:
            found, said = _levels(name, values.astype(str))
            notes += said
        names += [name] if found else []
        for column, numbers in found:
            columns.append(column)
            parts.append(numbers)
            of.append(len(names) - 1)
    if not parts:
        raise NotEstimable(
            "no attribute differs between units, so none can tell who responds: the average effect can still be "
            "estimated"
        )
    codes = np.zeros(len(table), np.int64)
    if category is not None:
        codes = np.unique(table[category].astype(str).to_numpy(dtype=object), return_inverse=True)[1].astype(np.int64)
        alone = np.flatnonzero(np.bincount(codes) == 1)
        if len(alone):
            notes.append(
                f"{len(alone)} value(s) of {category} have one unit: its forecast is shrunk to all units, and no "
                "effect of that value alone can be told from the unit's noise"
            )
    return Attributes(tuple(names), np.column_stack(parts), tuple(columns), np.asarray(of), codes, tuple(notes))


def _levels(name: str, values: Any) -> tuple[list[tuple[str, FloatArray]], list[str]]:
    """A column for each level that two units have; the rest share one."""
    counts = values.value_counts()
    if len(counts) > MOST_LEVELS:
        raise NotEstimable(
            f"attribute {name} has {len(counts)} values for {len(values)} units, at most {MOST_LEVELS} can be told "
            "apart: group them, or give a number; without it the other attributes can still be used"
        )
    common = sorted(str(level) for level in counts.index[counts >= 2])
    rare = len(counts) - len(common)
    found = [(f"{name}={level}", (values == level).to_numpy().astype(np.float64)) for level in common]
    said = [f"{rare} value(s) of attribute {name} have one unit: they are told apart from no other"] if rare else []
    return found, said
