"""Groups of a panel's units: find who differs, and spell a group as strata."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.heterogeneity.group_attributes import levels_of
from analysis.heterogeneity.groups import Direction, Group, Groups, find_groups
from analysis.heterogeneity.panel_effects import unit_effects
from analysis.heterogeneity.ranked_groups import Ranked, ranked_groups
from analysis.panel_data.attribute_table import Attributes
from analysis.panel_data.panel import Panel
from controller.errors import InvalidPanel, NotEstimable


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
    attributes: Attributes,
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
        attributes: of the units, from before the start.
        rng: halves the clusters.
        only: attributes that are used; all when empty.
        measured: column of the day on which attributes were measured, else ``measured_at`` where there is one; such a
            day from the start on is refused.
        direction, depth, rate, level: as `find_groups`.

    Raises:
        InvalidPanel: an unknown attribute, none of the panel's units in the table, attributes from after the start.
        NotEstimable: as `unit_effects`, `levels_of` and `find_groups`.

    """
    shown, rows, notes = unit_effects(panel)
    units = [panel.units[row] for row in rows]
    known = set(attributes.units)
    absent = sum(unit not in known for unit in set(units))
    if absent == len(set(units)):
        raise InvalidPanel(
            f"{attributes.source}: none of the panel's units has a row: it has {', '.join(attributes.units[:3])} ..., "
            f"the panel {', '.join(units[:3])} ...; spell units alike"
        )
    start = panel.periods[int((panel.treated & panel.usable).any(axis=0).argmax())]
    told = attributes.of(panel.units).from_before(start, measured)
    levels = levels_of((told.only(only) if only else told).of(units).columns, len(units))
    found = find_groups(shown, levels, rng=rng, rate=rate, depth=depth, direction=direction, level=level)
    ranked, why = None, ""
    try:
        ranked = ranked_groups(shown, levels, rng=rng, level=level)
    except NotEstimable as reason:
        why = f"no ranking: {reason}"
    said = (*notes, *((f"{absent} unit(s) have no row of attributes: they are in no group",) if absent else ()))
    labels = panel.units if panel.clusters is None else panel.clusters
    whole = replace(found, notes=(*said, *found.notes))
    return PanelGroups(whole, ranked, why, tuple(units), tuple(labels[row] for row in rows))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._~-]+", "-", name.replace(">=", "from").replace("<", "below")).strip("-")[:100]
