"""Who pays for it: the graph of substitutes, clusters that keep substitutes together, effects with spillover."""
