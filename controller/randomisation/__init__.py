"""Chance: hashes of names, draws, and where a draw may fall."""
