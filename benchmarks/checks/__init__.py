"""Benchmarks and simulations of checks."""
