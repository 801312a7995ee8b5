"""Estimators of effects on panels: functions of arrays."""
