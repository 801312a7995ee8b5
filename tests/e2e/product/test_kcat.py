"""A client that is not ours reads the assignments, with nothing but docs/contract.md in hand."""

import json
import subprocess
from datetime import datetime
from typing import Any

import jsonschema
import pytest

from controller.messages.topics import ASSIGNMENT
from flipside.schemas import ROOT
from streams.worker.services import partition_of
from tests.e2e.eventful import DAYS, PRODUCTS, STORES, Outcome

pytestmark = [pytest.mark.broker, pytest.mark.kcat]

HEADERS = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type")


@pytest.fixture(scope="session")
def envelopes(eventful: Outcome) -> list[dict[str, Any]]:
    """What kcat says of each record: topic, partition, offset, headers, key, payload."""
    topic = eventful.settings.prefixed(ASSIGNMENT)
    command = ["kcat", "-C", "-b", eventful.settings.kafka, "-t", topic, "-o", "beginning", "-e", "-q", "-J"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_kcat_reads_every_assignment(envelopes: list[dict[str, Any]]) -> None:
    # One for each unit and day, and the release to control at the end.
    assert len(envelopes) == STORES * PRODUCTS * (DAYS + 1)


def test_the_headers_are_those_of_cloud_events_as_documented(envelopes: list[dict[str, Any]]) -> None:
    documented = (ROOT / "docs" / "contract.md").read_text()
    assert all(f"| `{name}` |" in documented for name in HEADERS)
    for envelope in envelopes:
        names, values = envelope["headers"][::2], envelope["headers"][1::2]
        headers = dict(zip(names, values, strict=True))
        assert tuple(names) == HEADERS
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_source"] == "/flipside"
        assert headers["ce_type"] == "flipside.assignment.v1"
        assert headers["content-type"] == "application/json"
        body = json.loads(envelope["payload"])
        assert headers["ce_id"] == body["id"]
        assert datetime.fromisoformat(headers["ce_time"]) == datetime.fromisoformat(body["decided_at"])
        assert headers["ce_time"].endswith("Z")


def test_the_key_is_the_unit_and_its_partition_is_that_of_murmur2(envelopes: list[dict[str, Any]]) -> None:
    for envelope in envelopes:
        assert envelope["key"] == json.loads(envelope["payload"])["unit"]
        assert envelope["partition"] == partition_of(envelope["key"].encode(), 4)


def test_the_value_is_json_of_the_published_schema(envelopes: list[dict[str, Any]]) -> None:
    schema = json.loads((ROOT / "schemas" / "assignment.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for envelope in envelopes:
        validator.validate(json.loads(envelope["payload"]))
