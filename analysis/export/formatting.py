"""Numbers as people read them: the same in the report, on the terminal and in a picture."""

import math


def percent(value: float, digits: int = 1) -> str:
    """A share as people write it, with a real minus sign."""
    return f"{100 * value:+.{digits}f} %".replace("-", "−")


def number(value: float) -> str:
    """Three digits that count, never with an exponent, with a real minus sign."""
    digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:+,.{min(digits, 6)}f}".replace("-", "−")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """``1 day``, ``1,200 days``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
