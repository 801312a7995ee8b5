"""Estimators as functions of arrays."""
