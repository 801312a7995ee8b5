"""Sales and competitor prices: consumed, folded, counted again where the store has lost them."""
