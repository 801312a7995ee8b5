"""Digests of what a fixed input publishes: ``python -m tests.house.published_bytes`` writes them anew.

Decisions, panel and dead letters are compared to the byte. Estimates are compared to nine digits: the last ones of a
floating-point sum depend on the processor.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.randomised.whole_way import SETTINGS, published
from tests.chaos.faults.evening import evening

GOLDEN = Path(__file__).with_name("published_bytes.json")
DIGITS = 9
SEED, EFFECT = 3, -0.15


def decided() -> dict[str, list[Any]]:
    """Topic -> number of records and a digest over their keys, values and headers."""
    found: dict[str, list[Any]] = {}
    for (topic, partition), records in sorted(asyncio.run(evening()).topics.logs.items()):
        said = repr([(record.key, record.value, tuple(record.headers)) for record in records])
        found[f"{topic}/{partition}"] = [len(records), hashlib.sha256(said.encode()).hexdigest()]
    return found


def estimated(setting: str) -> list[Any]:
    """Number of estimates and of running sequences, and a digest over all their fields."""
    estimates, sequences = published(SETTINGS[setting], EFFECT, SEED)
    said = [_rounded(message.model_dump(mode="json")) for message in (*estimates, *sequences)]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return [len(estimates), len(sequences), digest]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = {"decided": decided(), "estimated": {name: estimated(name) for name in SETTINGS}}
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
