"""Every estimate and running sequence of a whole experiment of each design is the same, field by field.

Where a change is meant, `published_estimates.json` is written anew, and CHANGELOG.md names the change. What the
streams publish is held to the byte by `tests/chaos/test_published_bytes.py`.
"""

import json

import pytest

from tests.analysis.worker.published_estimates import GOLDEN, estimated

EXPECTED = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("setting", sorted(EXPECTED))
def test_estimates_of_a_whole_experiment_are_the_same_to_nine_digits(setting: str) -> None:
    assert estimated(setting) == EXPECTED[setting]
