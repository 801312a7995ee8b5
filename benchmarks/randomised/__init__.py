"""Benchmarks and simulations of randomised."""
