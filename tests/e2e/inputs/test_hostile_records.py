"""No record stops the system: whatever lies in a topic, everything lives, and what is behind it counts.

Every topic of the contract gets one record for each way in which it may be wrong. After each hundred records (twenty
requests) a sale must be counted, a kill be carried out within five seconds, and a subscribed client show a new
assignment; and a flip of two other markets that was due within the minute happens: for each single record that would
take a day. At the end all processes are killed: after their restart what is registered, killed, refused, counted and
shown is the same, and all of the above holds again.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message, milliseconds
from controller.messages.inputs import Sale
from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT_LOG,
    BLACKOUT,
    CATALOG,
    COMPETITOR_PRICE,
    DEAD_LETTER,
    DEFINITION,
    GRAPH,
    SALE,
)
from flipside.schemas import MESSAGES, ROOT
from flipside.topics.dead_letters import read_letters
from streams.kafka.topics import create_topics
from tests.controller.builders import an_experiment
from tests.e2e.inputs.hostile_records import Spoilt, a_letter, good, spoilt, write
from tests.e2e.inputs.under_attack import Installation, installation
from tests.e2e.running import Servers

pytestmark = pytest.mark.broker

#: topic -> what lies in it; of the letters, those of a sale
KINDS: dict[str, tuple[type[Message], ...]] = {topic: kinds or (Sale,) for topic, kinds in MESSAGES.items()}
#: whose records are letters where they are refused
INPUTS = (CATALOG, SALE, COMPETITOR_PRICE)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one installation is attacked with."""

    topics: tuple[str, ...]
    #: of the records of each topic this share: (1, 3) is the second third
    part: tuple[int, int] = (0, 1)


PEOPLE = (*INPUTS, DEFINITION, BLACKOUT, APPLIED)
OTHERS = tuple(topic for topic in KINDS if topic not in (*PEOPLE, ASSIGNMENT_LOG, GRAPH))
#: the whole matrix; each piece takes some minutes
PIECES = {
    "inputs": Piece(INPUTS),
    "requests": Piece((DEFINITION, BLACKOUT, APPLIED)),
    **{f"the log, {part + 1} of 3": Piece((ASSIGNMENT_LOG,), (part, 3)) for part in range(3)},
    "others, 1 of 3": Piece(OTHERS[:3]),
    "others, 2 of 3": Piece(OTHERS[3:6]),
    "others, 3 of 3": Piece(OTHERS[6:]),
    "graph": Piece((GRAPH,)),
}
#: where the JSON of a run is written, if anywhere; and where that of the last whole one is
WRITE_TO = "FLIPSIDE_MATRIX_JSON"
RESULTS = ROOT / "benchmarks" / "results" / "hostile_records.json"
#: a kill stands behind so many records at most; behind so many requests, each of which is answered in the log and by a
#: letter before the next is read
RECORDS_AT_ONCE, REQUESTS_AT_ONCE = 100, 20
PARTITIONS = 2


def share_of(topic: str, piece: Piece) -> list[tuple[type[Message], Spoilt]]:
    """The records of a topic that a piece has."""
    every, (part, parts) = records_of(topic, PARTITIONS), piece.part
    return every[len(every) * part // parts : len(every) * (part + 1) // parts]


def records_of(topic: str, partitions: int) -> list[tuple[type[Message], Spoilt]]:
    now_ms = milliseconds(datetime.now(UTC))
    changes: dict[type[Message], dict[str, Any]] = {
        # One that could be registered, but for what is wrong with it.
        Experiment: {"experiment": None},
    }
    found = []
    for model in KINDS[topic]:
        changed = {} if model not in changes else an_experiment(name="hostile").model_dump(include={"name"})
        record = good(model, partitions, now_ms, **changed)
        if topic == DEAD_LETTER:
            record = a_letter(record)
        found += [(model, one) for one in spoilt(record, partitions)]
    return found


async def attack(found: Installation, piece: Piece, step: int) -> None:
    """Put one in ``step`` of each topic's records, and look after each topic whether everything goes on.

    Flips are looked at where all records are put.
    """
    for topic in piece.topics:
        every = share_of(topic, piece)
        records = every[list(KINDS).index(topic) % step :: step]
        at_once = REQUESTS_AT_ONCE if topic in (DEFINITION, BLACKOUT) else RECORDS_AT_ONCE
        for first in range(0, len(records), at_once):
            some = records[first : first + at_once]
            (begins, one), (ends, last) = some[0], some[-1]
            where = f"{topic}: {begins.__name__}: {one.what} to {ends.__name__}: {last.what}"
            if step == 1 and first % RECORDS_AT_ONCE == 0:
                await found.flips_soon(where)
            for _, record in some:
                found.refused += not await write(found.producer, found.settings.prefixed(topic), record)
            found.cells += len(some)
            found.by_topic[topic] = found.by_topic.get(topic, 0) + len(some)
            await found.goes_on(where)
        await found.flipped()
        found.foreseen(topic)


async def all_go_on(servers: Servers, namespace: str, name: str, piece: Piece, step: int = 1) -> None:
    settings = servers.settings(
        namespace, clock="wall", lateness_seconds=60, metrics_port=0, checkpoint_seconds=1, partitions=PARTITIONS
    )
    await create_topics(settings)
    async with installation(settings) as found:
        await found.goes_on("nothing yet")
        await attack(found, piece, step)
        await found.requests_handled()
        before = await found.holds()
        for child in found.running.children.values():
            await child.kill()
            await child.start()
        await found.goes_on("a restart of everything")
        after = await found.holds()
        for what, held in before.items():
            assert after[what] == held, f"{what}: changed by a restart of everything"
        await found.flips_soon("a restart of everything")
        await found.flipped()
        found.foreseen("a restart of everything")
        letters = await read_letters(settings)
        told = {
            "cells": found.cells, "failures": found.failures, "dead_letters": len(letters), "flips": found.flips,
            "slowest_flip_seconds": round(found.latest_flip, 1), "slowest_kill_seconds": round(found.slowest_kill, 1),
            "refused_by_the_broker": found.refused, "by_topic": found.by_topic,
        }  # fmt: skip
        print(json.dumps(told))
        if os.environ.get(WRITE_TO):
            write_down(Path(os.environ[WRITE_TO]), name, told)
        assert found.failures == []
        if piece.topics[0] in INPUTS:
            assert letters, "what is refused is a dead letter"


def write_down(path: Path, name: str, told: dict[str, Any]) -> None:
    """Put one piece beside the others, with their sums."""
    every = json.loads(path.read_text())["pieces"] if path.exists() else {}
    every[name] = told
    sums = {key: sum(one[key] for one in every.values()) for key in ("cells", "dead_letters", "flips")}
    failed = sum(len(one["failures"]) for one in every.values())
    path.write_text(json.dumps({**sums, "failures": failed, "pieces": every}, indent=1) + "\n")


async def test_one_record_in_many_of_each_topic_stops_nothing(servers: Servers, namespace: str) -> None:
    await all_go_on(servers, namespace, "one in 23", Piece(tuple(KINDS)), step=23)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PIECES)
async def test_no_record_of_any_topic_stops_anything(servers: Servers, namespace: str, name: str) -> None:
    await all_go_on(servers, namespace, name, PIECES[name])


def test_the_committed_run_is_of_the_whole_matrix_as_it_is() -> None:
    told = json.loads(RESULTS.read_text())
    cells = {name: sum(len(share_of(topic, piece)) for topic in piece.topics) for name, piece in PIECES.items()}
    assert {name: one["cells"] for name, one in told["pieces"].items()} == cells
    assert (told["cells"], told["failures"]) == (sum(cells.values()), 0)
