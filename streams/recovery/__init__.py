"""State folded from the log: rebuilds, checkpoints, assignments that were never announced."""
