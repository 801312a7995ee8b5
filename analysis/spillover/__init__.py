"""Who pays for it: the graph of substitutes, clusters that keep substitutes together, effects with spillover."""

from analysis.spillover.clustering import Clusters, clusters
from analysis.spillover.effects import SpilloverEffects
from analysis.spillover.frames import spillover_effects
from analysis.spillover.graph import Graph, substitute_graph

__all__ = ["Clusters", "Graph", "SpilloverEffects", "clusters", "spillover_effects", "substitute_graph"]
