"""Logs of a played store."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from controller.messages.codec import LOG_APPEND_TIME, GivenHeaders, Record
from streams.outputs.outbox_relay import assignment_records
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from tests.streams.builders import experiment
from tests.streams.store.strategies import REMEMBER, flips, windows

DE = frozenset({"de"})
CONTROLS = {"juice.1": "control", "milk.1": "low", "milk.2": "low"}


@dataclass(frozen=True)
class Kept:
    """A record of the log."""

    key: bytes | None
    value: bytes | None
    headers: GivenHeaders
    topic: str = "log"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    timestamp_type: int = LOG_APPEND_TIME


def kept(record: Record) -> Kept:
    return Kept(record.key, record.value, tuple(record.headers))


async def played(calls: list[tuple[Any, ...]]) -> tuple[MemoryStore, list[Kept]]:
    """A store after some calls, and the log that its relay has written."""
    store, log = MemoryStore(1), []
    await store.claim(0, 0)
    for name in ("juice", "milk"):
        await store.put_registration(Registration(experiment(name), "hash"))
    for call in calls:
        if call[0] == "flip":
            await store.flip(0, 0, call[1], REMEMBER)
        else:
            await store.put_blackout(call[1])
    log += [kept(record) for record in assignment_records(await store.outbox(0, 10_000))]
    return store, log


CALLS = st.lists(
    st.one_of(st.tuples(st.just("flip"), flips()), st.tuples(st.just("flip"), flips()),
              st.tuples(st.just("blackout"), windows())), max_size=25,
)  # fmt: skip


@st.composite
def reading(draw: st.DrawFn, log: list[Kept]) -> list[Kept]:
    """The log as it may be read: each unit's records in their order, any of them there again later."""
    of_unit: dict[bytes | None, list[Kept]] = {}
    for record in log:
        of_unit.setdefault(record.key, []).append(record)
    turns = draw(st.permutations([record.key for record in log]))
    found = [of_unit[key].pop(0) for key in turns]
    for _ in range(draw(st.integers(0, 5)) if found else 0):
        again = draw(st.integers(0, len(found) - 1))
        found.insert(draw(st.integers(again + 1, len(found))), found[again])
    return found
