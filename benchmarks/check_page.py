"""docs/checks.md from the figures of check_power."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "check_power.json"
PAGE = ROOT / "docs" / "checks.md"


def write_page(measured: dict[str, Any]) -> None:
    """To the docs."""
