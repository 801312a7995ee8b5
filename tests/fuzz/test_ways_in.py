"""Some records on the way in of each kind; ten minutes each are `python -m tests.fuzz`."""

import json

import pytest

from flipside.schemas import ROOT
from tests.fuzz.engine import LONGEST_SECONDS, MOST_GROWTH_MB, fuzz
from tests.fuzz.ways_in import ways_in

KEPT = json.loads((ROOT / "benchmarks/results/one_way_in.json").read_text("utf-8"))
PAGE = " ".join((ROOT / "docs/hostile-input.md").read_text("utf-8").split())


@pytest.mark.parametrize("kind", sorted(ways_in()))
def test_no_record_raises_hangs_or_is_another_in_a_batch(kind: str) -> None:
    found = fuzz(ways_in()[kind], budget_seconds=0.0, at_once=20, mutated_at_once=100)
    assert found.failures == ()
    assert found.records >= 120


def test_ten_minutes_of_every_kind_are_committed_without_a_failure() -> None:
    assert KEPT.keys() == ways_in().keys()
    for kind, one in KEPT.items():
        assert one["failures"] == [], kind
        assert one["seconds"] >= 600, kind
        assert one["records"] >= 400_000, kind
        assert one["slowest_ms"] <= 1000 * LONGEST_SECONDS, kind
        assert one["growth_mb"] <= MOST_GROWTH_MB, kind


def test_the_page_has_what_is_committed() -> None:
    rows = list(KEPT.values())
    assert f"{sum(one['records'] for one in rows):,} records of {len(rows)} kinds" in PAGE
    assert f"at least {min(one['records'] for one in rows):,} of each" in PAGE
    assert f"The slowest batch took {max(one['slowest_ms'] for one in rows):.0f} ms" in PAGE
    assert f"the most growth was {max(one['growth_mb'] for one in rows)} MB" in PAGE
