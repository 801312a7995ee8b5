"""Benchmarks and simulations of replays."""
