"""Two days of five markets publish the same bytes in every run and after every change that is not meant to alter them.

Nothing is normalised: the clock is injected, so no time stamp differs. ``published_bytes.json`` holds a digest of each
topic. A change that is meant to alter published bytes writes it anew: ``python -m tests.chaos.test_published_bytes``.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, DEAD_LETTER, PANEL, TRIGGER
from tests.chaos.faults.evening import evening
from tests.chaos.faults.morning import morning
from tests.parts.rounding import rounded

GOLDEN = Path(__file__).parent / "published_bytes.json"
#: of the numbers of an estimate; the bytes after it differ between processors (the order of a vectorised sum)
DIGITS = 11


def digest(lines: Iterable[str]) -> dict[str, Any]:
    """How many records, and the SHA-256 of all of them in their order."""
    found, count = hashlib.sha256(), 0
    for line in lines:
        found.update(line.encode() + b"\n")
        count += 1
    return {"records": count, "sha256": found.hexdigest()}


def published() -> dict[str, dict[str, Any]]:
    """Topic and partition -> digest of its records: keys, headers and values as they were sent."""
    logs = asyncio.run(evening()).topics.logs
    return {
        f"{topic}/{partition}": digest(repr((record.key, record.value, tuple(record.headers))) for record in records)
        for (topic, partition), records in sorted(logs.items())
    }


def findings() -> dict[str, str]:
    """Estimates and the other findings of the analysis, as JSON by key."""
    return {key: found.model_dump_json(exclude_none=True) for key, found in sorted(morning().findings.items())}


def all_digests() -> dict[str, dict[str, Any]]:
    """What ``published_bytes.json`` holds."""
    lines = (f"{key} {json.dumps(rounded(json.loads(text), DIGITS))}" for key, text in findings().items())
    return {**published(), f"findings, {DIGITS} digits": digest(lines)}


def golden() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text())
    return found


def test_two_days_publish_the_bytes_that_they_have_always_published() -> None:
    assert all_digests() == golden()


def test_the_digests_cover_the_log_the_assignments_the_panel_the_triggers_and_the_dead_letters() -> None:
    named = {name for name, found in golden().items() if found["records"] > 0}
    assert all(
        any(topic in name for name in named) for topic in (ASSIGNMENT, ASSIGNMENT_LOG, PANEL, TRIGGER, DEAD_LETTER)
    )


def test_estimates_are_equal_to_the_last_bit_run_after_run() -> None:
    assert findings() == findings()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(all_digests(), indent=2) + "\n")
