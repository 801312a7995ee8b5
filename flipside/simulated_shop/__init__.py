"""A made-up shop: demand, sales, competitors, sample files."""
