"""Who responds: a causal forest, and what moves a published number.

Nothing here is imported by a worker: numba is loaded only when one of these functions is
called (`docs/heterogeneity.md`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.heterogeneity.cluster_day_influence import cluster_day_influence
    from analysis.heterogeneity.forests.fitted_forest import CausalForest
    from analysis.heterogeneity.forests.forest import causal_forest
    from analysis.heterogeneity.group_attributes import levels_of
    from analysis.heterogeneity.group_statistics import UnitEffects
    from analysis.heterogeneity.groups import Groups, find_groups
    from analysis.heterogeneity.hpte_result import Hpte
    from analysis.heterogeneity.influence import Influence, did_influence, means_influence
    from analysis.heterogeneity.ranked_groups import ranked_groups
    from analysis.heterogeneity.synthetic.history import synthesize
    from analysis.heterogeneity.synthetic.sold import Sold
    from analysis.heterogeneity.unit_effects import hpte
    from analysis.heterogeneity.weighted_influence import Weights, weighted_influence

__all__ = [
    "CausalForest",
    "Groups",
    "Hpte",
    "Influence",
    "Sold",
    "UnitEffects",
    "Weights",
    "causal_forest",
    "cluster_day_influence",
    "did_influence",
    "find_groups",
    "hpte",
    "levels_of",
    "means_influence",
    "ranked_groups",
    "synthesize",
    "weighted_influence",
]

_HOMES = {
    "Sold": "synthetic.sold",
    "synthesize": "synthetic.history",
    "Groups": "groups",
    "UnitEffects": "group_statistics",
    "levels_of": "group_attributes",
    "find_groups": "groups",
    "ranked_groups": "ranked_groups",
    "CausalForest": "forests.fitted_forest",
    "causal_forest": "forests.forest",
    "Hpte": "hpte_result",
    "hpte": "unit_effects",
    "Influence": "influence",
    "did_influence": "influence",
    "means_influence": "influence",
    "cluster_day_influence": "cluster_day_influence",
    "Weights": "weighted_influence",
    "weighted_influence": "weighted_influence",
}


def __getattr__(name: str) -> Any:
    """Each name comes from its own module on first use, because numba takes seconds and 100 MB."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
