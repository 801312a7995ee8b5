"""Benchmarks and simulations of planning."""
