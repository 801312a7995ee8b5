"""Attributes of units from before an experiment, as levels: what groups are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import InvalidPanel, NotEstimable

#: an attribute of more levels names units, not groups
MOST_LEVELS = 64
#: a number of more distinct values is cut at its quartiles
DISTINCT_NUMBERS = 6
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of N units."""

    name: str
    #: labels, ``category = juice`` or ``price < 2.5``
    levels: tuple[str, ...]
    #: (N,) index into ``levels``; -1 where it is not known
    code: IntArray


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes that can make groups, and a sentence on each that cannot."""

    attributes: tuple[Attribute, ...]
    notes: tuple[str, ...]

    def only(self, units: BoolArray | IntArray) -> "Attributes":
        """Of some units."""
        kept = tuple(Attribute(one.name, one.levels, one.code[units]) for one in self.attributes)
        return Attributes(kept, self.notes)


def attributes_of(columns: Mapping[str, Sequence[Any]], units: int) -> Attributes:
    """Levels of each column; a missing value is None, NaN or an empty text.

    Raises:
        InvalidPanel: a column of another length.
        NotEstimable: no column that could make groups; the message has the reason of each.

    """
    kept, notes = [], []
    for name, values in columns.items():
        if len(values) != units:
            raise InvalidPanel(f"attribute {name} has {len(values)} values for {units} units: give one to each")
        found = _attribute(name, values)
        if isinstance(found, str):
            notes.append(found)
            continue
        missing = int((found.code < 0).sum())
        if missing:
            notes.append(f"{name} is not known of {missing} of {units} units: they are in no group made of it")
        kept.append(found)
    if not kept:
        raise NotEstimable("no attribute can make groups: " + ("; ".join(notes) or "none was given"))
    return Attributes(tuple(kept), tuple(notes))


def _attribute(name: str, values: Sequence[Any]) -> Attribute | str:
    known = np.array([not _absent(value) for value in values], dtype=np.bool_)
    present = [value for value, there in zip(values, known, strict=True) if there]
    if not present:
        return f"{name} is not known of any unit: left out"
    numbers = _numbers(present)
    if numbers is not None and len(np.unique(numbers)) > DISTINCT_NUMBERS:
        levels, inner = _quartiles(name, numbers)
    else:
        labels = np.array([_spelled(value) for value in present])
        distinct, inner = np.unique(labels, return_inverse=True)
        levels = tuple(f"{name} = {label}" for label in distinct)
    if len(levels) == 1:
        return f"{name} is the same for all units ({present[0]}): it makes no groups; left out"
    if len(levels) > MOST_LEVELS:
        return (
            f"{name} has {len(levels):,} levels, at most {MOST_LEVELS} make groups: give a coarser one (a category "
            "instead of a product); left out"
        )
    code = np.full(len(values), -1, dtype=np.int64)
    code[known] = inner.ravel()
    return Attribute(name, levels, code)


def _absent(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and bool(np.isnan(value)))
        or (isinstance(value, str) and not value.strip())
    )


def _numbers(values: Sequence[Any]) -> FloatArray | None:
    if any(isinstance(value, bool | str) or not isinstance(value, int | float | np.number) for value in values):
        return None
    return np.asarray(values, dtype=np.float64)


def _spelled(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quartiles(name: str, numbers: FloatArray) -> tuple[tuple[str, ...], IntArray]:
    cuts = np.unique(np.quantile(numbers, (0.25, 0.5, 0.75)))
    code = np.searchsorted(cuts, numbers, side="right")
    used, inner = np.unique(code, return_inverse=True)
    labels = []
    for which in used:
        low = None if which == 0 else cuts[which - 1]
        high = None if which == len(cuts) else cuts[which]
        if low is None:
            labels.append(f"{name} < {high:.4g}")
        elif high is None:
            labels.append(f"{name} >= {low:.4g}")
        else:
            labels.append(f"{low:.4g} <= {name} < {high:.4g}")
    return tuple(labels), inner.ravel().astype(np.int64)


def refuse_measured_after(name: str, days: Sequence[Any], start: Any) -> None:
    """Refuse attributes measured on or after the start of the experiment: they may be outcomes.

    Raises:
        InvalidPanel: naming the column, the first such day and the rule.

    """
    late = sorted({str(day) for day in days if not _absent(day) and str(day) >= str(start)})
    if late:
        raise InvalidPanel(
            f"{name}: attributes were measured on {', '.join(late[:SHOWN])}, the treatment begins at {start}: what is "
            "measured after the start may be an outcome, and groups made of it have no effect of their own; take the "
            "last values from before"
        )
