"""Benchmarks and simulations of spillover."""
