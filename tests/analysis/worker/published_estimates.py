"""Digests of the estimates of a fixed input: ``python -m tests.analysis.worker.published_estimates`` writes them anew.

All fields that have a value, floating-point numbers to nine digits: the last ones of a sum depend on the processor.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.randomised.whole_way import SETTINGS, published
from tests.parts.rounding import rounded

GOLDEN = Path(__file__).with_name("published_estimates.json")
DIGITS = 9
SEED, EFFECT = 3, -0.15


def estimated(setting: str) -> list[Any]:
    """Number of estimates and of running sequences, and a digest over all their fields."""
    estimates, sequences = published(SETTINGS[setting], EFFECT, SEED)
    said = [rounded(message.model_dump(mode="json", exclude_none=True), DIGITS) for message in (*estimates, *sequences)]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return [len(estimates), len(sequences), digest]


if __name__ == "__main__":
    found = {name: estimated(name) for name in SETTINGS}
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
