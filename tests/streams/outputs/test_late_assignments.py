"""An assignment that was not out before it took effect becomes control: nobody is shown another arm within a day."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
import structlog

from controller.definition.field_types import milliseconds
from controller.messages.events import Assignment
from controller.messages.topics import ASSIGNMENT
from streams.embedded.servers import embedded_broker
from streams.kafka.connection import connection
from streams.outputs.late_assignments import overdue, put_back, unannounced
from streams.outputs.outbox_relay import assignments
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from streams.store import Fenced, Granted, LogRecord, OutboxEntry, Store
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from tests.streams.builders import at, flip

A, B, C = "de/a", "de/b", "de/c"
WHY = "it was too late"


def ms(day: float) -> int:
    return milliseconds(at(day))


async def entries(store: Store) -> list[OutboxEntry]:
    return await store.outbox(0, 1000)


async def rows(store: Store) -> dict[str, Granted]:
    return {row.unit: row for entry in await entries(store) for row in entry.granted}


async def said(store: Store) -> dict[str, list[Assignment]]:
    """What a topic would hold if the outbox were published as it is."""
    found: dict[str, list[Assignment]] = {}
    for entry in await entries(store):
        for assignment in assignments(entry):
            found.setdefault(assignment.unit, []).append(assignment)
    return found


# --- the store, both adapters -----------------------------------------------------------------------------------------


async def test_what_is_put_back_is_control_with_its_reason_and_a_version_of_its_own(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 2, C: 0}))
    before = await rows(store)
    (entry,) = await entries(store)
    await store.claim(0, 7)
    await store.put_back(0, 7, entry.id, [A], WHY)
    late = before[A]._replace(arm="control", price_minor=None, code="late", detail=WHY, sequence=4)
    assert await rows(store) == before | {A: late}
    rest, again = await entries(store)
    assert (rest.epoch, rest.header, [row.unit for row in rest.granted]) == (1, entry.header, [B, C])
    assert (again.epoch, again.header, [row.unit for row in again.granted]) == (7, entry.header, [A])
    held = await store.restoring.held(0)
    assert (held[A].arm, held[A].on_control, held[A].order, held[A].day) == ("control", True, (7, 4), held[B].day)


async def test_what_an_owner_that_wakes_up_publishes_is_older_than_what_was_put_back(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    zombie = (await said(store))[A]
    (entry,) = await entries(store)
    await store.claim(0, 2)
    await store.put_back(0, 2, entry.id, [A], WHY)
    (late,) = (await said(store))[A]
    assert (late.epoch, late.sequence) > (zombie[0].epoch, zombie[0].sequence)
    assert late.id != zombie[0].id, "two decisions, not one that is said in two ways"


async def test_only_the_owner_puts_anything_back(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    (entry,) = await entries(store)
    await store.claim(0, 2)
    with pytest.raises(Fenced):
        await store.put_back(0, 1, entry.id, [A], WHY)
    assert await entries(store) == [entry]


async def test_a_unit_that_was_put_back_stands_on_control_when_the_next_day_is_decided(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 1}, days=2))
    (entry,) = await entries(store)
    await store.put_back(0, 1, entry.id, [A], WHY)
    outcome = await store.flip(0, 1, flip({A: 0, B: 0}, day=1))
    assert outcome.flips == 1, "only B leaves an arm"


async def test_what_was_decided_since_then_stays(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    (entry,) = await entries(store)
    await store.flip(0, 1, flip({A: 2}, day=1, days=2))
    await store.put_back(0, 1, entry.id, [A], WHY)
    assert (await store.flip(0, 1, flip({A: 2}, day=2))).flips == 0


async def test_an_entry_that_is_not_there_any_more_is_put_back_by_nobody(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    (entry,) = await entries(store)
    await store.put_back(0, 1, entry.id, [A], WHY)
    once = await entries(store)
    await store.put_back(0, 1, entry.id, [A], "again")
    assert await entries(store) == once
    await store.published(0, [once[0].id])
    await store.put_back(0, 1, once[0].id, [A], "again")
    assert await entries(store) == []


async def test_a_repeated_decision_does_not_bring_the_arm_back(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    (entry,) = await entries(store)
    await store.put_back(0, 1, entry.id, [A], WHY)
    assert (await store.flip(0, 1, flip({A: 1}))).repeated == 1
    assert (await rows(store))[A].arm == "control"


# --- which entries ----------------------------------------------------------------------------------------------------


async def test_overdue_is_what_began_and_is_not_control(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 0}))
    await store.flip(0, 1, flip({A: 1, B: 1}, day=1))
    first, second = await entries(store)
    assert overdue([first, second], ms(0) - 1) == {}
    assert overdue([first, second], ms(0)) == {first.id: (A,)}
    assert overdue([first, second], ms(1)) == {first.id: (A,), second.id: (A, B)}


async def test_orders_that_wait_for_no_boundary_and_releases_are_never_overdue(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    await store.flip(0, 1, flip({A: 0}, day=1, release=True))
    await store.flip(0, 1, replace(flip({B: 1}), urgent=True, effective_at=at(0) + timedelta(hours=2)))
    first, *others = await entries(store)
    assert overdue([first, *others], ms(9)).keys() == {first.id}


async def test_what_its_last_owner_published_before_it_died_is_announced(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1, B: 1}))
    (entry,) = await entries(store)
    out = {A: (await said(store))[A]}
    assert unannounced(entry, (A, B), out) == (B,)


async def test_an_arm_that_goes_on_under_a_lease_needs_no_new_announcement(store: Store) -> None:
    """A block of several days: the first record's lease lasts to the end of the block."""
    await store.flip(0, 1, flip({A: 1, B: 1}, days=3))
    out = await said(store)
    await store.flip(0, 1, flip({A: 1, B: 2}, day=1, days=2))
    _, second = await entries(store)
    assert unannounced(second, (A, B), out) == (B,)


async def test_what_is_put_back_is_not_overdue_again(store: Store) -> None:
    await store.flip(0, 1, flip({A: 1}))
    (entry,) = await entries(store)
    await store.put_back(0, 1, entry.id, [A], WHY)
    assert set(overdue(await entries(store), ms(9)).values()) == {()}


# --- the relay's word with the topic ----------------------------------------------------------------------------------


async def test_the_report_of_a_gap_stays_as_it_is_beside_what_is_late(store: Store) -> None:
    """Nobody was there over two midnights: the outbox holds a report, and what was late for the second."""
    await store.tell(0, 1, [LogRecord("kind", "{}")])
    await store.flip(0, 1, flip({A: 1}))
    with embedded_broker({f"late.{ASSIGNMENT}": 2}) as address:
        settings = Settings(kafka=address, namespace="late", partitions=2)
        none, log = cast(Any, None), structlog.get_logger()
        parts = Parts(settings, WallClock(), store, none, Metrics(), log, "one", connection(settings))
        outbox = await entries(store)
        assert await put_back(parts, 0, 1, outbox, overdue(outbox, ms(9)))
        assert not any(overdue(await entries(store), ms(9)).values()), "control is never late"
    told, late = await entries(store)
    assert (told.records, [(row.arm, row.code) for row in late.granted]) == ((("kind", "{}"),), [("control", "late")])
