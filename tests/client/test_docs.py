"""The page of the pricing engineer does what it says: its snippets and its command line run against a broker."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from confluent_kafka import Producer
from openfeature import api

from client.tests.builders import UNIT, published
from controller.messages.codec import encode
from controller.messages.events import Assignment
from controller.messages.topics import APPLIED, ASSIGNMENT
from flipside_client.fold import Outcome, Why
from streams.embedded.servers import embedded_broker

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pricing-engineer.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
WRITTEN_ADDRESS = "kafka:9092"


def today_and_tomorrow() -> tuple[Assignment, Assignment]:
    """The unit of the page, on the arm `low` since an hour ago and on `high` from an hour from now."""
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    first = published(1, "low", effective_at=now - hour, expires_at=now + hour, decided_at=now - 2 * hour)
    return first, published(2, "high", effective_at=now + hour, expires_at=now + 2 * hour, decided_at=now - hour)


@pytest.fixture
def broker() -> Iterator[str]:
    """An embedded broker with both topics and the two assignments."""
    with embedded_broker({ASSIGNMENT: 4, APPLIED: 4}) as address:
        producer = Producer({"bootstrap.servers": address, "partitioner": "murmur2_random", "log_level": 0})
        for message in today_and_tomorrow():
            record = encode(message, message.id, message.decided_at)
            producer.produce(ASSIGNMENT, key=record.key, value=record.value, headers=list(record.headers))
        assert producer.flush(30) == 0
        yield address


#: what each snippet prints, in the order of the page
PRINTED = [
    "low\n",
    f"low 900 EUR spring.1/1/{UNIT}\n",
    "",
    f"at the start: {UNIT}\n",
    "",
    "low\n",
]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_prints_what_the_page_says(number: int, broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(SNIPPETS) == len(PRINTED)
    snippet = SNIPPETS[number]
    assert WRITTEN_ADDRESS in snippet
    exec(compile(snippet.replace(WRITTEN_ADDRESS, broker), str(PAGE), "exec"), {"__name__": "__main__"})
    api.clear_providers()
    assert capsys.readouterr().out == PRINTED[number]


@pytest.mark.kcat
def test_kcat_reads_key_headers_and_json_as_documented(broker: str) -> None:
    (command,) = COMMANDS
    arguments = shlex.split(command.replace(WRITTEN_ADDRESS, broker))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, expected in zip(lines, today_and_tomorrow(), strict=True):
        key, headers, value = line.split(" ", 2)
        read = Assignment.model_validate_json(value)
        assert (key, read.arm, read.id) == (UNIT, expected.arm, expected.id)
        named = dict(header.split("=", 1) for header in headers.split(","))
        assert named.keys() == {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"}
        assert (named["ce_type"], named["ce_source"]) == ("flipside.assignment.v1", "/flipside")


def test_every_answer_and_counter_of_the_page_exists() -> None:
    text = PAGE.read_text()
    assert set(re.findall(r"^\| `(\w+)` \| (?:`None`|its name)", text, re.MULTILINE)) == set(get_args(Why))
    assert set(re.findall(r'records\["(\w+)"\]', text)) <= set(get_args(Outcome))
    wire = text[text.index("| field | type") :]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", wire, re.MULTILINE)))) >= set(
        Assignment.model_fields
    )
