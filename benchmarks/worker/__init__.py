"""Benchmarks and simulations of worker."""
