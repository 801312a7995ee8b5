"""What is published of the same input is the same to the byte: ids, keys, values, headers, in their order.

A digest that changes is a change of what subscribers and auditors read. Where that is meant, `published_bytes.json` is
written anew by ``python -m tests.house.published_bytes`` and the change stands in CHANGELOG.md.
"""

import json

import pytest

from tests.house.published_bytes import GOLDEN, decided, estimated

EXPECTED = json.loads(GOLDEN.read_text())


def test_two_evenings_of_decisions_triggers_kills_and_closings_publish_the_same_bytes() -> None:
    assert decided() == EXPECTED["decided"]


@pytest.mark.parametrize("setting", sorted(EXPECTED["estimated"]))
def test_estimates_of_a_whole_experiment_are_the_same_to_nine_digits(setting: str) -> None:
    assert estimated(setting) == EXPECTED["estimated"][setting]
