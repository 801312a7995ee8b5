"""The store in memory: the second adapter of the same port."""
