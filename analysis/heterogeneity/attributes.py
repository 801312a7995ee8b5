"""Attributes as a matrix: numbers as they are, texts as columns of 0 and 1, and what was dropped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.panel_data.attribute_table import Attributes, absent, numbers
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import InvalidPanel, NotEstimable

#: a text with more levels than this would be a column for almost every unit
MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class AttributeMatrix:
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


def matrix_of(
    attributes: Attributes, *, category: str | None = None, drop_incomplete: bool = False
) -> tuple[AttributeMatrix, BoolArray]:
    """The matrix of the units that have all attributes, in their order, and which those are, (N,).

    Args:
        attributes: of N units.
        category: the attribute that forecasts are shrunk to; absent, ``category`` where there is one.
        drop_incomplete: leave out units without all attributes; otherwise they are refused.

    Raises:
        InvalidPanel: no such category, units without attributes, a number that is infinite.
        NotEstimable: no attribute varies, or one has too many levels.

    """
    given = list(attributes.columns)
    wanted = category if category is not None else ("category" if "category" in given else None)
    if wanted is not None and wanted not in given:
        raise InvalidPanel(f"there is no attribute {wanted} to shrink forecasts to: there are {', '.join(given)}")
    gone = {name: np.array([absent(value) for value in attributes.columns[name]], dtype=np.bool_) for name in given}
    whole: BoolArray = ~np.any([np.zeros(len(attributes.units), dtype=np.bool_), *gone.values()], axis=0)
    if not whole.all() and not drop_incomplete:
        first = int(np.flatnonzero(~whole)[0])
        lacking = ", ".join(name for name in given if gone[name][first])
        raise InvalidPanel(
            f"{int((~whole).sum())} of {len(whole)} units lack attributes, {attributes.units[first]} the first "
            f"({lacking}): the rest can be compared if they are left out (--drop-incomplete), but "
            "not these; or give each a value"
        )
    return _encoded(attributes.rows(np.flatnonzero(whole).tolist()), wanted), whole


def _encoded(attributes: Attributes, category: str | None) -> AttributeMatrix:
    parts: list[FloatArray] = []
    columns: list[str] = []
    of: list[int] = []
    names: list[str] = []
    notes: list[str] = []
    for name, values in attributes.columns.items():
        if len(set(values)) < 2:
            notes.append(f"attribute {name} is the same for all units: it can tell none apart, and is left out")
            continue
        if numbers(values):
            found = [(name, _finite(name, values, attributes.units))]
        else:
            found, said = _levels(name, [str(value) for value in values])
            notes += said
        names += [name] if found else []
        for column, cells in found:
            columns.append(column)
            parts.append(cells)
            of.append(len(names) - 1)
    if not parts:
        raise NotEstimable(
            "no attribute differs between units, so none can tell who responds: the average effect can still be "
            "estimated"
        )
    codes = np.zeros(len(attributes.units), np.int64)
    if category is not None:
        labels = np.array([str(value) for value in attributes.columns[category]], dtype=object)
        codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        alone = np.flatnonzero(np.bincount(codes) == 1)
        if len(alone):
            notes.append(
                f"{len(alone)} value(s) of {category} have one unit: its forecast is shrunk to all units, and no "
                "effect of that value alone can be told from the unit's noise"
            )
    return AttributeMatrix(tuple(names), np.column_stack(parts), tuple(columns), np.asarray(of), codes, tuple(notes))


def _finite(name: str, values: Sequence[Any], units: tuple[str, ...]) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        unit = units[int(np.flatnonzero(~np.isfinite(found))[0])]
        raise InvalidPanel(f"attribute {name} of {unit} is infinite: give a finite number")
    return found


def _levels(name: str, values: list[str]) -> tuple[list[tuple[str, FloatArray]], list[str]]:
    """A column for each level that two units have; the rest share one."""
    counts = Counter(values)
    if len(counts) > MOST_LEVELS:
        raise NotEstimable(
            f"attribute {name} has {len(counts)} values for {len(values)} units, at most {MOST_LEVELS} can be told "
            "apart: group them, or give a number; without it the other attributes can still be used"
        )
    common = sorted(level for level, count in counts.items() if count >= 2)
    rare = len(counts) - len(common)
    held = np.array(values, dtype=object)
    found = [(f"{name}={level}", (held == level).astype(np.float64)) for level in common]
    said = [f"{rare} value(s) of attribute {name} have one unit: they are told apart from no other"] if rare else []
    return found, said
