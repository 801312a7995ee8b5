"""Who responds, and what carries the number: of a panel, and of a running experiment."""
