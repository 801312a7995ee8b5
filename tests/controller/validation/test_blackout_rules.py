"""Blackouts that protect nothing are refused, and every slip of the pen is named at once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.errors import InvalidBlackout, Problem
from controller.validation.blackout_rules import announce, parse_blackout
from tests.controller.builders import a_catalog, an_experiment

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOUND: dict[str, Any] = {
    "id": "easter",
    "scope": {"kind": "market", "name": "m0"},
    "starts_at": "2026-04-03T00:00:00-05:00",
    "ends_at": "2026-04-07T00:00:00-05:00",
    "reason": "printed",
}


def refused(**changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidBlackout) as caught:
        announce(parse_blackout(json.dumps(SOUND | changes)), a_catalog(), [an_experiment()], NOW)
    assert all(p.field and p.value and p.rule and p.way_out for p in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("kind", "name"), [("global", ""), ("market", "m0"), ("unit", "m1/p2"), ("cluster", "m0/p1"), ("cluster", "p1")]
)
def test_a_window_over_something_that_is_known_binds(kind: str, name: str) -> None:
    window = parse_blackout(json.dumps(SOUND | {"scope": {"kind": kind, "name": name}}))
    assert announce(window, a_catalog(), [an_experiment()], NOW) is window


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"ends_at": "2026-04-02T00:00:00-05:00"}, "ends_at", "ends after it starts"),
        ({"ends_at": SOUND["starts_at"]}, "ends_at", "ends after it starts"),
        ({"starts_at": "2025-04-03T00:00:00Z", "ends_at": "2025-04-07T00:00:00Z"}, "ends_at", "later than now"),
        ({"starts_at": "2026-04-03T00:00:00"}, "starts_at", "an instant with its zone"),
        ({"starts_at": "2026-04-31T00:00:00Z"}, "starts_at", "an instant that exists"),
        ({"starts_at": 0}, "starts_at", "an instant"),
        ({"scope": {"kind": "global", "name": "m0"}}, "scope.name", "names nothing"),
        ({"scope": {"kind": "market", "name": ""}}, "scope.name", "it names a market"),
        ({"scope": {"kind": "market"}}, "scope.name", "it names a market"),
        ({"scope": {"kind": "unit", "name": "m0"}}, "scope.name", "market/product"),
        ({"scope": {"kind": "market", "name": "m7"}}, "scope.name", "no market of the catalog"),
        ({"scope": {"kind": "market", "name": "m0x"}}, "scope.name", "did you mean m0?"),
        ({"scope": {"kind": "unit", "name": "m0/ghost"}}, "scope.name", "no unit of the catalog"),
        ({"scope": {"kind": "cluster", "name": "juices"}}, "scope.name", "no cluster of a registered experiment"),
        ({"scope": {"kind": "market", "name": "m\u0430"}}, "scope.name", "it names a market"),
        ({"scope": {"kind": "store", "name": "m0"}}, "scope.kind", "one of"),
        ({"reason": "  "}, "reason", "say why"),
        ({"id": "the easter window"}, "id", "rename it"),
        ({"until": "2026-04-07T00:00:00Z"}, "until", "no such field"),
    ],
)
def test_a_window_that_would_protect_nothing_is_refused_with_the_way_out(
    changes: dict[str, Any], field: str, words: str
) -> None:
    hits = [problem for problem in refused(**changes) if problem.field == field]
    assert hits
    assert any(words in str(problem) for problem in hits), [str(problem) for problem in hits]
    assert all(str(problem).isascii() for problem in hits)


def test_everything_wrong_with_a_window_is_said_at_once() -> None:
    shape = refused(starts_at="2026-04-03", ends_at="soon", id="a b", reason=7)
    assert {p.field for p in shape} >= {"starts_at", "ends_at", "id", "reason"}
    sense = refused(ends_at="2026-03-01T00:00:00Z", reason=" ", scope={"kind": "global", "name": "m0"})
    assert [p.field for p in sense] == ["ends_at", "reason", "scope.name"]


def test_a_window_that_has_begun_still_binds_its_rest() -> None:
    body = SOUND | {"starts_at": (NOW - timedelta(days=1)).isoformat()}
    assert announce(parse_blackout(json.dumps(body)), a_catalog(), [], NOW).id == "easter"
