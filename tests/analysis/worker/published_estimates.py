"""Digests of the estimates of a fixed input: ``python -m tests.analysis.worker.published_estimates`` writes them anew.

All fields that have a value, floating-point numbers to nine digits: the last ones of a sum depend on the processor.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.randomised.whole_way import SETTINGS, published

GOLDEN = Path(__file__).with_name("published_estimates.json")
DIGITS = 9
SEED, EFFECT = 3, -0.15


def estimated(setting: str) -> list[Any]:
    """Number of estimates and of running sequences, and a digest over all their fields."""
    estimates, sequences = published(SETTINGS[setting], EFFECT, SEED)
    said = [_rounded(message.model_dump(mode="json", exclude_none=True)) for message in (*estimates, *sequences)]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return [len(estimates), len(sequences), digest]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = {name: estimated(name) for name in SETTINGS}
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
