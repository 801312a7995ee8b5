"""Benchmarks and simulations of heterogeneity."""
