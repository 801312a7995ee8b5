"""Hostile definitions: each gets a clear error within a second, and none is guessed at."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from controller.errors import InvalidExperiment, Problem
from controller.validation.registration import parse, register
from tests.controller.builders import BEFORE, a_catalog, an_experiment
from tests.controller.validation.hostile_definitions import ARMS, HOSTILE

SECOND = 1.0


def refused(document: str | bytes) -> tuple[Problem, ...]:
    """What a definition is refused with, on its way from a document to a registration."""
    with pytest.raises(InvalidExperiment) as caught:
        register(parse(document), a_catalog(), (), BEFORE)
    return caught.value.problems


def a_document(changes: dict[str, Any]) -> str:
    body = an_experiment().model_dump(mode="json", exclude={"markets"}) | {"arms": ARMS} | changes
    return json.dumps(body, default=lambda value: float(value) if isinstance(value, Decimal) else str(value))


def test_the_sound_definition_is_sound() -> None:
    assert register(parse(a_document({})), a_catalog(), (), BEFORE).name == "oj-2026"
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_definition_is_refused_by_field_value_rule_and_way_out(what: str) -> None:
    changes, field, words = HOSTILE[what]
    document = a_document(changes)
    began = time.process_time()
    problems = refused(document)
    assert time.process_time() - began < SECOND
    hits = [problem for problem in problems if problem.field == field]
    assert hits, [str(problem) for problem in problems]
    assert any(words in str(problem) for problem in hits), [str(problem) for problem in hits]
    assert all(p.field and p.value and p.rule and p.way_out for p in problems)
    assert all(len(p.value) < 400 for p in problems)
    assert all(str(problem).isascii() for problem in problems)


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"oj"', b"[" * 100_000, b'{"a":' * 100_000, b"{}" * 2, b"\x00" * 50],
    ids=["empty", "cut off", "a list", "null", "no text", "a word", "deep list", "deep object", "two", "zeros"],
)
def test_what_is_no_document_is_refused_too(document: bytes) -> None:
    assert refused(document)


def test_everything_wrong_at_once_is_said_at_once() -> None:
    everything: dict[str, Any] = {}
    for what in ("name with a space", "units as a number", "zero days", "the 30th of February", "no such design"):
        everything |= HOSTILE[what][0]
    assert {p.field for p in refused(a_document(everything))} >= {"name", "units", "days", "start", "design"}
    contradictory = HOSTILE["washout longer than the phase"][0] | HOSTILE["lead of two days"][0] | {"lead_minutes": 60}
    contradictory |= HOSTILE["duplicate units"][0] | HOSTILE["shares that sum to less"][0] | {"start": "2025-01-01"}
    assert {p.field for p in refused(a_document(contradictory))} >= {
        "units",
        "arms.share",
        "design.washout_days",
        "start",
    }


def test_a_million_units_are_refused_by_size_and_not_by_patience() -> None:
    document = a_document({}).replace('"units": [', '"units": [' + '"a/b",' * 1_000_001)
    began = time.process_time()
    assert refused(document)[0].field == "units"
    assert time.process_time() - began < 5 * SECOND
    assert "at most" in refused(b" " * (64 * 1024 * 1024 + 1))[0].rule
