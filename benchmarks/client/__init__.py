"""Benchmarks and simulations of client."""
