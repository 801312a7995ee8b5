"""Asking the system for something through its topics, and waiting for the log's answer."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import TypeVar

from aiokafka import AIOKafkaProducer

from controller.decisions.kill_switches import standing
from controller.decisions.kill_switches import suspended as standing_aside
from controller.decisions.lifecycle import Lifecycle, lived
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.codec import Record, ce_type, encode, key_of
from controller.messages.control import Kill, LifecycleChanged, LifecycleRequest, SetAside
from controller.messages.events import CE_TYPES, BlackoutSet, Ownership, Refused, Registered
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import ASSIGNMENT_LOG, CATALOG, MAX_RECORD_BYTES, TICK
from flipside.topics.reader import Reader
from streams.control.catalog_entries import Entries
from streams.kafka.connection import connection, reach_kafka, stop_client
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings
from streams.worker.services import partition_of

Answer = TypeVar("Answer", bound=Message)


class NoAnswer(FlipsideError):
    """No worker answered in time."""


class WasRefused(FlipsideError):
    """A worker refused; the message lists every broken rule."""


async def read_all(settings: Settings, topic: str) -> list[Message]:
    """Every message of a topic that is there now, in the order of its partitions; with the namespace or without it.

    Raises FlipsideError where the brokers have no such topic.
    """
    await reach_kafka(settings)
    prefix = settings.prefixed("")
    reader = Reader(settings, [topic.removeprefix(prefix)])
    await reader.start()
    try:
        for name in await reader.missing():
            where = f"namespace {settings.namespace}" if settings.namespace else "no namespace"
            raise FlipsideError(f"the brokers at {settings.kafka} have no topic {name} ({where}); see --namespace")
        await reader.drain()
    finally:
        await reader.stop()
    return reader.messages


async def catalog(settings: Settings) -> dict[str, CatalogEntry]:
    """The latest entry of each unit on sale, as workers see them: owners may write it without headers."""
    await reach_kafka(settings)
    found, now = Entries(), WallClock().now()
    reader = Reader(settings, [CATALOG])
    await reader.start()
    try:
        ends = await reader.ends()
        while not await reader.reached(ends):
            for record in await reader.records(100):
                # An entry that breaks the contract is a dead letter of the workers', and none of ours.
                found.take(record, now, now)
    finally:
        await reader.stop()
    found.settle()
    return found.on_sale


@dataclass(frozen=True, slots=True)
class Known:
    """What the log says of one experiment since its last registration."""

    registered: Registered
    #: each change once, in order
    changes: tuple[LifecycleChanged, ...] = ()

    def life(self, now: datetime) -> Lifecycle:
        """Where it stands now; it is registered, so it was submitted."""
        last = self.changes[-1] if self.changes else None
        state = "scheduled" if last is None else last.to_state
        frozen = last is not None and last.frozen
        return lived(Lifecycle(self.registered.experiment, state, frozen, self.changes), now)


async def known(settings: Settings) -> tuple[dict[str, Known], dict[str, Kill]]:
    """Every registered experiment by name, and the kill switches that stand."""
    found: dict[str, Known] = {}
    kills: list[Kill] = []
    for message in await read_all(settings, ASSIGNMENT_LOG):
        if isinstance(message, Registered):
            found[message.experiment.name] = Known(message)
        elif isinstance(message, Kill):
            kills.append(message)
        elif isinstance(message, LifecycleChanged) and message.experiment in found:
            of = found[message.experiment]
            version = of.registered.experiment.version
            if message.experiment_version == version and message.id not in {c.id for c in of.changes}:
                found[message.experiment] = replace(of, changes=(*of.changes, message))
    return found, standing(kills)


async def suspended(settings: Settings) -> list[SetAside]:
    """Markets that are set aside by those who own their shards now."""
    said = [m for m in await read_all(settings, ASSIGNMENT_LOG) if isinstance(m, SetAside)]
    if not said:
        return []
    epochs: dict[int, int] = {}
    reader = Reader(settings, [TICK])
    await reader.start()
    try:
        ends = await reader.ends()
        while not await reader.reached(ends):
            for record in await reader.records(100):
                if ce_type(record.headers) == CE_TYPES[Ownership]:
                    epochs[record.partition] = max(record.offset, epochs.get(record.partition, -1))
    finally:
        await reader.stop()
    return standing_aside(said, epochs)


def one_of(found: Mapping[str, Known], name: str) -> Known:
    """The experiment of a name; raises FlipsideError that says which names there are."""
    if name not in found:
        close = get_close_matches(name, found, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise FlipsideError(f"{name} is not registered; {meant}`flipside experiment list` names all")
    return found[name]


async def ask(
    settings: Settings,
    topic: str,
    message: Message,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """Publish a request and wait for its answer in the log.

    Raises WasRefused with the reasons, or NoAnswer after ``timeout_seconds``.
    """
    at, key = WallClock().now(), key_of(message)
    return await _ask(settings, topic, encode(message, f"{key}/{at.isoformat()}", at), answers, timeout_seconds)


async def remove(
    settings: Settings,
    topic: str,
    key: str,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    """Publish a tombstone and wait for its answer in the log; raises as `ask` does."""
    return await _ask(settings, topic, Record(key.encode(), None, []), answers, timeout_seconds)


async def _ask(
    settings: Settings,
    topic: str,
    record: Record,
    answers: Callable[[Message], Answer | None],
    timeout_seconds: float,
) -> Answer:
    await reach_kafka(settings)
    log = Reader(settings, [ASSIGNMENT_LOG])
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_request_size=MAX_RECORD_BYTES
    )
    await log.start()
    try:
        await producer.start()
        await log.drain()
        name = settings.prefixed(topic)
        where = partition_of(record.key or b"", settings.partitions)
        sent = await producer.send_and_wait(
            name, key=record.key, value=record.value, headers=record.headers, partition=where
        )
        return await _answer(log, f"{name}/{sent.partition}/{sent.offset}", answers, timeout_seconds)
    finally:
        await stop_client(producer)
        await log.stop()


async def _answer(
    log: Reader, request: str, answers: Callable[[Message], Answer | None], timeout_seconds: float
) -> Answer:
    """The answer to a request, which a refusal names by its place: topic/partition/offset."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for message in await log.poll(100):
            if isinstance(message, Refused) and message.id == request:
                raise WasRefused("refused, nothing has changed:\n" + "\n".join(message.problems))
            answer = answers(message)
            if answer is not None:
                return answer
        await asyncio.sleep(0)
    raise NoAnswer(
        f"no worker answered within {timeout_seconds:.0f} s; the request is kept, and is carried out once one runs"
    )


def registration_of(experiment: Experiment) -> Callable[[Message], Registered | None]:
    """Recognises the answer to a submission."""
    return lambda m: m if isinstance(m, Registered) and m.experiment.name == experiment.name else None


def change_of(request: LifecycleRequest) -> Callable[[Message], LifecycleChanged | None]:
    """Recognises the answer to a change of an experiment's life."""
    return lambda m: m if isinstance(m, LifecycleChanged) and m.id == request.id else None


def kill_of(kill: Kill) -> Callable[[Message], Kill | None]:
    """Recognises the answer to a kill switch."""
    return lambda m: m if isinstance(m, Kill) and m == kill else None


def recording_of(blackout_id: str, removed: bool) -> Callable[[Message], BlackoutSet | None]:
    """Recognises the answer to a blackout that was added or removed."""
    return lambda m: m if isinstance(m, BlackoutSet) and m.blackout == blackout_id and m.removed == removed else None
