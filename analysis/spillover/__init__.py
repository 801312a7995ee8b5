"""Who pays for it: the graph of substitutes, clusters that keep substitutes together, and effects with their spillover."""
