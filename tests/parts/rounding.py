"""JSON values to so many significant digits: the last ones of a floating-point sum depend on the processor."""

from typing import Any


def rounded(value: Any, digits: int) -> Any:
    """The same JSON value, its numbers rounded."""
    if isinstance(value, dict):
        return {name: rounded(inner, digits) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner, digits) for inner in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
