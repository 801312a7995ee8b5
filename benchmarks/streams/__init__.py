"""Benchmarks and simulations of streams."""
