"""The last look at what goes out: each rule sees the fault it is there for, and nothing else."""

from dataclasses import replace

import pytest

from streams.store import Granted, LogRecord, OutboxEntry
from streams.store.outbox_invariants import broken, newest

GRANTED = Granted("north/tea", "north", "cheaper", "cheaper", 950, 2000, "planned", "", 7)
GOOD = OutboxEntry("1-0", 3, {"effective": 1000, "decided": 900}, (GRANTED, GRANTED._replace(unit="n/b", sequence=8)))


def test_an_entry_as_the_store_writes_it_breaks_nothing() -> None:
    assert list(broken(GOOD, (3, 6))) == []
    assert list(broken(GOOD, (2, 100))) == [], "a new epoch begins its own sequence"
    assert list(broken(OutboxEntry("2-0", 3, records=(LogRecord("type", "{}"),)), newest(GOOD))) == []


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (replace(GOOD, granted=(GRANTED._replace(sequence=6),)), "sequence"),
        (replace(GOOD, epoch=2), "sequence"),
        (replace(GOOD, header={"effective": 1000, "decided": 1001}), "late"),
        (replace(GOOD, granted=(GRANTED._replace(expires_ms=1000),)), "lease"),
    ],
)
def test_each_rule_sees_its_fault(entry: OutboxEntry, rule: str) -> None:
    assert list(broken(entry, (3, 6))) == [rule]


def test_the_rest_of_what_was_put_back_may_go_out_after_what_was_decided_later() -> None:
    assert list(broken(replace(GOOD, again=True), (3, 100))) == []


def test_a_kill_may_be_decided_at_its_own_instant_and_later() -> None:
    urgent = replace(GOOD, header={"effective": 1000, "decided": 1001, "urgent": 1})
    assert list(broken(urgent, (3, 6))) == []
