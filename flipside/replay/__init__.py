"""Replays and the demo: sales through the whole system in simulated time."""
