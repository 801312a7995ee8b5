"""Benchmarks and simulations of observational."""
