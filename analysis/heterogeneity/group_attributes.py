"""Attributes of units from before an experiment, as levels: what groups are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.panel_data.attribute_table import absent, numbers
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import InvalidPanel, NotEstimable

#: an attribute of more levels names units, not groups
MOST_LEVELS = 64
#: a number of more distinct values is cut at its quartiles
DISTINCT_NUMBERS = 6


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of N units."""

    name: str
    #: labels, ``category = juice`` or ``price < 2.5``
    levels: tuple[str, ...]
    #: (N,) index into ``levels``; -1 where it is not known
    code: IntArray


@dataclass(frozen=True, slots=True)
class AttributeLevels:
    """Attributes that can make groups, and a sentence on each that cannot."""

    attributes: tuple[Attribute, ...]
    notes: tuple[str, ...]

    def only(self, units: BoolArray | IntArray) -> "AttributeLevels":
        """Of some units."""
        kept = tuple(Attribute(one.name, one.levels, one.code[units]) for one in self.attributes)
        return AttributeLevels(kept, self.notes)


def levels_of(columns: Mapping[str, Sequence[Any]], units: int) -> AttributeLevels:
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
    return AttributeLevels(tuple(kept), tuple(notes))


def _attribute(name: str, values: Sequence[Any]) -> Attribute | str:
    known = np.array([not absent(value) for value in values], dtype=np.bool_)
    present = [value for value, there in zip(values, known, strict=True) if there]
    if not present:
        return f"{name} is not known of any unit: left out"
    if numbers(present) and len(set(present)) > DISTINCT_NUMBERS:
        levels, inner = _quartiles(name, np.asarray(present, dtype=np.float64))
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


def _spelled(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quartiles(name: str, values: FloatArray) -> tuple[tuple[str, ...], IntArray]:
    cuts = np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
    code = np.searchsorted(cuts, values, side="right")
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
