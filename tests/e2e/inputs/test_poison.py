"""Poison among the sales: set aside whole, told with its reason, and nothing else lost."""

import pytest

from controller.messages.topics import DEAD_LETTER, SALE
from tests.e2e.eventful import DAYS, POISON, PRODUCTS, STORES, UNIT, Outcome

pytestmark = pytest.mark.broker


def test_each_poisoned_message_is_one_dead_letter_with_its_bytes_its_reason_and_its_origin(eventful: Outcome) -> None:
    letters = eventful.records[DEAD_LETTER]
    assert len(letters) == len(POISON)
    origins = set()
    for letter in letters:
        headers = dict(letter.headers)
        what = headers["original_trace"].decode()
        assert letter.value == POISON[what]
        assert letter.key == UNIT.encode()
        assert headers["ce_type"] == b"flipside.dead-letter.v1"
        assert headers["ce_reasoncode"] == (b"version" if what == "unknown version" else b"unreadable")
        assert headers["ce_origintopic"].decode() == eventful.settings.prefixed(SALE)
        origins.add((headers["ce_originpartition"], headers["ce_originoffset"]))
    assert len(origins) == len(POISON)


@pytest.mark.parametrize(
    ("what", "field"), [("bad JSON", "EOF"), ("unknown version", "version"), ("1 MB in a field", "id")]
)
def test_the_reason_names_what_is_wrong(eventful: Outcome, what: str, field: str) -> None:
    headers = [dict(letter.headers) for letter in eventful.records[DEAD_LETTER]]
    reason = next(h["ce_reason"].decode() for h in headers if h["original_trace"] == what.encode())
    assert field in reason
    assert len(reason) < 500


def test_everything_else_is_counted_once_and_no_promise_broken(eventful: Outcome) -> None:
    result = eventful.result
    assert result.events_in == STORES * PRODUCTS * DAYS
    assert result.events_counted == result.events_in
    assert result.dead_lettered == len(POISON)
    assert result.broken_promises == ()
