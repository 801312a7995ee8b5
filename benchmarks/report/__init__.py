"""Benchmarks and simulations of report."""
