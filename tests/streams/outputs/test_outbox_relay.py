"""What the relay writes of an outbox entry, without a model of each unit, is what the models would be spelled as."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.messages.codec import Record, announce_by, encode
from streams.outputs.outbox_relay import assignment_records, assignments
from streams.store import Granted, LogRecord, OutboxEntry

NOON_MS = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() * 1000)
HEADER = {
    "owner": "juice.3", "experiment": "juice", "version": 3, "design_hash": "5f" * 32, "market": "de", "block": 4,
    "day": datetime(2026, 3, 2, tzinfo=UTC).toordinal(), "arms": ["control", "cheap"], "currency": "EUR",
    "effective": NOON_MS + 1, "expires": 0, "keep_until": NOON_MS, "decided": NOON_MS - 3_600_000 + 7,
}  # fmt: skip
PLAIN = Granted("de/tea", "tea", "cheap", "control", 199, NOON_MS + 86_400_123, "scheduled", "", 17)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("owner", ["juice.3", "5%b.3", "x" * 180 + ".3"])
def test_every_record_is_the_model_of_its_assignment_byte_for_byte(urgent: bool, owner: str) -> None:
    said = 'a "kill" \\ by Zoë \t\x7f\x01\u2028 für 5 € 🍊'
    granted = (
        PLAIN,
        PLAIN._replace(unit="de/coffee.x~1", price_minor=None, sequence=18),
        PLAIN._replace(unit="de/milk", cluster="de/milk", expires_ms=None, code="released", detail=said, sequence=19),
        PLAIN._replace(unit="fr/tea", price_minor=0, code="blackout", detail="w", planned_arm="cheap", sequence=2**53),
        PLAIN._replace(unit="fr/ice", arm="control", code="late", detail="5 %d", sequence=20),
        PLAIN._replace(unit="fr/ice-cream", planned_arm="cheap", sequence=21),
    )
    entry = OutboxEntry("1-0", 4711, {**HEADER, "owner": owner, "urgent": urgent}, granted)
    records = OutboxEntry("2-0", 4711, records=(LogRecord("type", "{}"),))
    expected = [encode(message, message.id, message.decided_at) for message in assignments(entry)]
    assert assignment_records([entry, records, entry]) == expected * 2
    assert len({record.headers[1] for record in expected}) == len(granted)


ENTRY = OutboxEntry("1-0", 4711, HEADER, (PLAIN, PLAIN._replace(unit="de/milk", arm="control", sequence=18)))


def test_what_is_announced_says_by_when_the_brokers_must_have_it() -> None:
    """Control too: a worker that is too late with a day has not decided it, and somebody else may have reported it."""
    hour = timedelta(hours=1)
    by = [record.headers[6:] for record in assignment_records([ENTRY], {}, lambda begins: begins + hour)]
    assert by == [[announce_by(datetime(2026, 3, 2, 13, 0, 0, 1000, tzinfo=UTC))]] * 2
    assert by[0] == [("ce_announceby", b"2026-03-02T13:00:00.001000Z")]


@pytest.mark.parametrize(
    "records",
    [
        assignment_records([replace(ENTRY, header=HEADER | {"urgent": True})], {}, lambda begins: begins),
        assignment_records([replace(ENTRY, header=HEADER | {"release": True})], {}, lambda begins: begins),
        assignment_records([ENTRY], {"1-0": ("de/tea",)}, lambda begins: begins),
        assignment_records([ENTRY], {}, lambda _: None),
    ],
    ids=["what waits for no boundary", "a release", "what the topic had in time", "a history that is replayed"],
)
def test_nothing_else_can_be_void(records: list[Record]) -> None:
    assert {len(record.headers) for record in records} == {6}
