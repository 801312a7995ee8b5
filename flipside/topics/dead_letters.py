"""Dead letters read back, and sent again: each once, as the topic itself bears witness.

Who sends a letter again claims it first, by a record in the letter's own partition. That partition is a total order: of
two who claim the same letter, the first one sends it, and the other one sees that. Once the brokers have the record, a
second one says so. A claim without it is a process that died in between: whether its record arrived is not known, so
nobody sends it again without being told to.
"""

import asyncio
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError

from controller.errors import CannotReach, FlipsideError
from controller.messages.codec import GivenHeaders, Headers, ce_type, told
from controller.messages.events import SOURCE
from controller.messages.topics import DEAD_LETTER, MAX_RECORD_BYTES
from flipside.topics.reader import Reader
from streams.kafka.connection import connection, reach_kafka, stop_client
from streams.kafka.dead_letters import Letter, letter
from streams.runtime.settings import Settings

REDRIVE_TYPE = "flipside.dead-letter-redrive.v1"
SURROGATE = re.compile("[\ud800-\udfff]")
ROUND = re.compile(r"[1-9][0-9]{0,5}")
#: letters under way at once: so many are in doubt if the process dies
AT_ONCE = 200
#: ``dead`` was never sent again; ``in doubt`` was claimed, and nobody said that it was sent
Standing = Literal["dead", "in doubt", "sent again"]


@dataclass(frozen=True, slots=True)
class Redrive:
    """A word about sending a letter again."""

    #: who said it: no two runs share one
    by: str
    round: int
    sent: bool
    at: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A dead letter, and what was done about it."""

    letter: Letter
    #: how often it was written: a worker that crashed, or every worker that reads the catalog, says it again
    times: int = 1
    redrives: tuple[Redrive, ...] = ()

    @property
    def round(self) -> int:
        """How often somebody began to send it again."""
        return max((r.round for r in self.redrives), default=0)

    @property
    def standing(self) -> Standing:
        if not self.redrives:
            return "dead"
        return "sent again" if any(r.sent and r.round == self.round for r in self.redrives) else "in doubt"

    def winner(self, number: int) -> str:
        """Who claimed it first in a round."""
        return next((r.by for r in self.redrives if r.round == number and not r.sent), "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is empty asks for nothing."""

    ids: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    #: with or without the namespace's prefix
    topics: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, kept: Kept) -> bool:
        found = kept.letter
        return (
            (not self.ids or found.id in self.ids)
            and (not self.reasons or found.code in self.reasons)
            and (not self.topics or any(found.topic == t or found.topic.endswith(f".{t}") for t in self.topics))
            and (self.since is None or found.at >= self.since)
            and (self.until is None or found.at < self.until)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of letters that were to be sent again, by id."""

    sent: tuple[str, ...] = ()
    #: somebody else was first
    taken: tuple[str, ...] = ()
    #: sent again before, or in doubt
    passed_over: tuple[str, ...] = ()
    #: only their beginning is kept
    cut: tuple[str, ...] = ()

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.sent + other.sent,
            self.taken + other.taken,
            self.passed_over + other.passed_over,
            self.cut + other.cut,
        )


@dataclass(slots=True)
class _Shelf:
    """What was read of the topic so far."""

    kept: dict[str, Kept] = field(default_factory=dict)
    #: words about letters that were not read: they are gone, or on their way
    orphans: int = 0

    def put(self, record: Any) -> None:
        found = letter(record)
        if found is not None:
            held = self.kept.get(found.id)
            self.kept[found.id] = Kept(found) if held is None else replace(held, times=held.times + 1)
            return
        if ce_type(record.headers) != REDRIVE_TYPE:
            return
        said = {name: value.decode(errors="replace") for name, value in told(record.headers).items()}
        held = self.kept.get(said.get("ce_letter", ""))
        if held is None or not ROUND.fullmatch(said.get("ce_round", "")):
            self.orphans += 1
            return
        word = Redrive(said.get("ce_by", ""), int(said["ce_round"]), said.get("ce_step") == "sent",
                       said.get("ce_time", ""))  # fmt: skip
        self.kept[held.letter.id] = replace(held, redrives=(*held.redrives, word))


async def read_letters(settings: Settings) -> list[Kept]:
    """Every dead letter that is there now, oldest first; raises CannotReach."""
    await reach_kafka(settings)
    reader, shelf = Reader(settings, [DEAD_LETTER]), _Shelf()
    await reader.start()
    try:
        await _catch_up(reader, shelf)
    finally:
        await reader.stop()
    return sorted(shelf.kept.values(), key=lambda kept: (kept.letter.at, kept.letter.id))


async def _catch_up(reader: Reader, shelf: _Shelf) -> None:
    ends = await reader.ends()
    while not await reader.reached(ends):
        for record in await reader.records(100):
            shelf.put(record)


async def redrive(
    settings: Settings,
    wanted: Wanted,
    now: Callable[[], datetime],
    *,
    again: bool = False,
    who: str = "",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Outcome:
    """Send letters again as they came: value, key and headers, to the topic that they came from; each once.

    ``again``: also those that were sent again before, or are in doubt. ``progress`` is told how many of how many are
    done. Raises CannotReach, and FlipsideError for ids that no letter has.
    """
    await reach_kafka(settings)
    reader, shelf = Reader(settings, [DEAD_LETTER]), _Shelf()
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )
    await reader.start()
    try:
        await producer.start()
        await _catch_up(reader, shelf)
        unknown = sorted(wanted.ids - shelf.kept.keys())
        if unknown:
            raise FlipsideError(f"no dead letter has the id {', '.join(unknown)}; `flipside dead-letters list` has all")
        meant = [kept for kept in shelf.kept.values() if wanted.takes(kept)]
        ready = [kept for kept in meant if not kept.letter.cut and (again or kept.standing == "dead")]
        outcome = Outcome(
            cut=tuple(kept.letter.id for kept in meant if kept.letter.cut),
            passed_over=tuple(k.letter.id for k in meant if not k.letter.cut and not (again or k.standing == "dead")),
        )
        await _may_write(producer, ready)
        by = f"{who}/{uuid.uuid4().hex}"
        progress(0, len(ready))
        for some in _batches(ready):
            outcome += await _send(settings, producer, reader, shelf, some, by, now)
            progress(len(outcome.sent) + len(outcome.taken), len(ready))
        return outcome
    finally:
        await stop_client(producer)
        await reader.stop()


async def _may_write(producer: AIOKafkaProducer, letters: Sequence[Kept]) -> None:
    """Raise CannotReach that names the topics that this user may not write, before a letter is claimed.

    A claim without its record would leave the letter in doubt. Whoever may write a topic may see its partitions.
    """
    refused: dict[str, int] = {}
    for topic in {kept.letter.topic for kept in letters}:
        try:
            await producer.partitions_for(topic)
        except TopicAuthorizationFailedError:
            refused[topic] = sum(kept.letter.topic == topic for kept in letters)
    if refused:
        named = ", ".join(f"{topic} ({count} letters)" for topic, count in sorted(refused.items()))
        raise CannotReach(
            f"Kafka's access rules do not let this user write {named}; nothing was sent. Choose others with "
            "--topic, or use the role that may (docs/operating.md, Who may write what)"
        )


def _batches(letters: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
    for start in range(0, len(letters), AT_ONCE):
        yield letters[start : start + AT_ONCE]


async def _send(
    settings: Settings,
    producer: AIOKafkaProducer,
    reader: Reader,
    shelf: _Shelf,
    letters: Sequence[Kept],
    by: str,
    now: Callable[[], datetime],
) -> Outcome:
    """1. claim, 2. see who was first, 3. send, 4. say so."""
    rounds = {kept.letter.id: kept.round + 1 for kept in letters}

    async def say(step: str, some: Iterable[Letter]) -> None:
        await _acknowledged(
            [
                await producer.send(
                    settings.prefixed(DEAD_LETTER), value=b"", key=found.key, partition=found.shelf,
                    headers=_word(found, step, by, rounds[found.id], now()),
                )
                for found in some
            ]
        )  # fmt: skip

    # 1.
    await say("claimed", (kept.letter for kept in letters))
    # 2.
    await _catch_up(reader, shelf)
    mine = [k.letter for k in letters if shelf.kept[k.letter.id].winner(rounds[k.letter.id]) == by]
    # 3. Records without a key were written to a partition by number.
    await _acknowledged(
        [
            await producer.send(
                found.topic, value=found.value, key=found.key, headers=writable(found.headers),
                partition=found.partition if found.key is None else None,
            )
            for found in mine
        ]
    )  # fmt: skip
    # 4.
    await say("sent", mine)
    sent = {found.id for found in mine}
    return Outcome(sent=tuple(sent), taken=tuple(k.letter.id for k in letters if k.letter.id not in sent))


def writable(headers: GivenHeaders) -> list[tuple[str, bytes | None]]:
    """Headers that a client can write: one whose name is no UTF-8 says nothing to any reader, and is left out."""
    return [(name, value) for name, value in headers if not SURROGATE.search(name)]


async def _acknowledged(sent: Sequence[asyncio.Future[Any]]) -> None:
    for future in sent:
        await future


def _word(found: Letter, step: str, by: str, number: int, at: datetime) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{found.id}/{number}/{step}/{by}".encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", REDRIVE_TYPE.encode()),
        ("ce_time", at.isoformat().replace("+00:00", "Z").encode()),
        ("ce_letter", found.id.encode()),
        ("ce_step", step.encode()),
        ("ce_round", str(number).encode()),
        ("ce_by", by.encode()),
    ]
