"""Local days of a market, and time zones."""
