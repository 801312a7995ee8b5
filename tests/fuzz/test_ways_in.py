"""Some records on the way in of each kind; ten minutes each are `python -m tests.fuzz`."""

import pytest

from tests.fuzz.engine import fuzz
from tests.fuzz.ways_in import ways_in


@pytest.mark.parametrize("kind", sorted(ways_in()))
def test_no_record_raises_hangs_or_is_another_in_a_batch(kind: str) -> None:
    found = fuzz(ways_in()[kind], budget_seconds=0.0, at_once=20, mutated_at_once=100)
    assert found.failures == ()
    assert found.records >= 120
