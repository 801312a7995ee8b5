"""Groups of a panel's units: read their attributes, find who differs, and spell a group as strata."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from analysis.heterogeneity.group_attributes import attributes_of, refuse_measured_after
from analysis.heterogeneity.groups import Direction, Group, Groups, find_groups
from analysis.heterogeneity.panel_effects import unit_effects
from analysis.heterogeneity.ranked_groups import Ranked, ranked_groups
from analysis.panel_data.panel import Panel
from controller.errors import InvalidPanel, NotEstimable

#: columns of a catalog entry that say nothing of who responds
NOT_ATTRIBUTES = ("unit", "version", "time_zone", "currency")


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """Columns of a file of attributes, a row a unit."""

    path: Path
    units: tuple[str, ...]
    columns: dict[str, list[Any]]


def read_attributes(path: Path, unit: str = "unit") -> AttributeTable:
    """Read CSV, Parquet, or a catalog of one JSON object a line.

    Raises:
        InvalidPanel: no such file or column, or a unit that has two rows.

    """
    if not path.is_file():
        raise InvalidPanel(f"{path} does not exist: give attributes as .csv, .parquet, or a catalog as .jsonl")
    try:
        table = _table(path)
    except (pa.ArrowInvalid, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidPanel(f"{path} cannot be read as {path.suffix or 'CSV'}: {error}") from error
    if unit not in table.column_names:
        raise InvalidPanel(f"{path} has no column {unit}: it has {', '.join(table.column_names)}; name it with --unit")
    units = [str(value) for value in table.column(unit).to_pylist()]
    seen: set[str] = set()
    for row, name in enumerate(units, start=1):
        if name in seen:
            raise InvalidPanel(f"{path}: row {row} has attributes of {name} a second time: give one row to each unit")
        seen.add(name)
    columns = {
        name: table.column(name).to_pylist()
        for name in table.column_names
        if name != unit and not pa.types.is_nested(table.column(name).type)
    }
    return AttributeTable(path, tuple(units), columns)


def _table(path: Path) -> pa.Table:
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        return pa.parquet.read_table(path)
    if ending in (".jsonl", ".ndjson"):
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        names = sorted({name for row in rows for name in row} - set(NOT_ATTRIBUTES))
        plain = [n for n in names if not any(isinstance(row.get(n), list | dict) for row in rows)]
        return pa.table({"unit": [row.get("unit") for row in rows], **{n: [row.get(n) for row in rows] for n in plain}})
    return pa.csv.read_csv(path)


@dataclass(frozen=True, slots=True)
class PanelGroups:
    """Groups with the names of the panel's units and clusters."""

    found: Groups
    #: None where no ranking could be made, ``not_ranked`` says why
    ranked: Ranked | None
    not_ranked: str
    units: tuple[str, ...]
    #: (N,), the cluster of each
    clusters: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, by name."""
        found = self.found
        return {
            "effect": found.effect,
            "ci": [found.effect_low, found.effect_high],
            "units": found.units,
            "clusters": found.clusters,
            "groups": [self._group(one) for one in found.groups],
            "looked_at": [{name: getattr(one, name) for name in one.__slots__} for one in found.looked],
            "ranked": None
            if self.ranked is None
            else {
                "fifths": [{name: getattr(one, name) for name in one.__slots__} for one in self.ranked.groups],
                "highest_less_lowest": self.ranked.spread,
                "ci": [self.ranked.spread_low, self.ranked.spread_high],
            },
            "notes": [*found.notes, *([self.not_ranked] if self.not_ranked else [])],
        }

    def _group(self, one: Group) -> dict[str, Any]:
        plain = ("name", "effect", "contrast", "contrast_error", "p_value", "q_value", "units", "clusters", "named")
        shown: dict[str, Any] = {name: getattr(one, name) for name in plain}
        return {
            **shown,
            "ci": [one.low, one.high],
            "found_on_half": one.found_on + 1,
            "members": [self.units[k] for k in np.flatnonzero(one.members)] if one.named else None,
        }

    def strata(self, name: str) -> dict[str, list[str]]:
        """``balance.strata`` of a definition: the clusters of one named group, and all others.

        Raises:
            InvalidPanel: no such named group, or a cluster with units inside and outside of it.

        """
        named = {one.name: one for one in self.found.named}
        if name not in named:
            known = "; ".join(named) or "none is named"
            raise InvalidPanel(f"no named group is called {name!r}: {known}")
        inside = {self.clusters[k] for k in np.flatnonzero(named[name].members)}
        outside = {self.clusters[k] for k in np.flatnonzero(~named[name].members)}
        if inside & outside:
            raise InvalidPanel(
                f"cluster {sorted(inside & outside)[0]} has units in the group {name} and outside of it: strata hold "
                "whole clusters; cluster by unit, or choose an attribute of clusters"
            )
        return {_slug(name): sorted(inside), "others": sorted(outside)}


def panel_groups(
    panel: Panel,
    table: AttributeTable,
    *,
    rng: np.random.Generator,
    only: Sequence[str] = (),
    measured: str | None = None,
    direction: Direction = "any",
    depth: int = 3,
    rate: float = 0.05,
    level: float = 0.95,
) -> PanelGroups:
    """Who differs in a panel.

    Args:
        panel: units by period.
        table: their attributes from before the start.
        rng: halves the clusters.
        only: attributes that are used; all when empty.
        measured: column of the day on which attributes were measured; such a day from the start on is refused.
        direction, depth, rate, level: as `find_groups`.

    Raises:
        InvalidPanel: an unknown attribute, none of the panel's units in the table, attributes from after the start.
        NotEstimable: as `unit_effects`, `attributes_of` and `find_groups`.

    """
    shown, rows, notes = unit_effects(panel)
    units = [panel.units[row] for row in rows]
    number = {name: k for k, name in enumerate(table.units)}
    there = [number.get(name) for name in units]
    if not any(k is not None for k in there):
        raise InvalidPanel(
            f"{table.path}: none of the panel's units has a row: it has {', '.join(table.units[:3])} ..., the panel "
            f"{', '.join(units[:3])} ...; spell units alike"
        )
    unknown = [name for name in only if name not in table.columns]
    if unknown:
        raise InvalidPanel(f"{table.path} has no attribute {unknown[0]}: it has {', '.join(table.columns)}")
    columns: Mapping[str, list[Any]] = {
        name: [None if k is None else values[k] for k in there]
        for name, values in table.columns.items()
        if name != measured and (not only or name in only)
    }
    if measured is not None:
        if measured not in table.columns:
            raise InvalidPanel(f"{table.path} has no column {measured}: it has {', '.join(table.columns)}")
        start = panel.periods[int((panel.treated & panel.usable).any(axis=0).argmax())]
        days = [None if k is None else table.columns[measured][k] for k in there]
        refuse_measured_after(f"{table.path}: {measured}", days, start)
    attributes = attributes_of(columns, len(units))
    found = find_groups(shown, attributes, rng=rng, rate=rate, depth=depth, direction=direction, level=level)
    ranked, why = None, ""
    try:
        ranked = ranked_groups(shown, attributes, rng=rng, level=level)
    except NotEstimable as reason:
        why = f"no ranking: {reason}"
    absent = sum(k is None for k in there)
    said = (*notes, *((f"{absent} unit(s) have no row of attributes: they are in no group",) if absent else ()))
    labels = panel.units if panel.clusters is None else panel.clusters
    whole = Groups(**{**{name: getattr(found, name) for name in found.__slots__}, "notes": (*said, *found.notes)})
    return PanelGroups(whole, ranked, why, tuple(units), tuple(labels[row] for row in rows))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._~-]+", "-", name.replace(">=", "from").replace("<", "below")).strip("-")[:100]
