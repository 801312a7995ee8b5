"""Benchmarks and simulations of controller."""
