"""What is registered, looked up in the topics: experiments, their states, kill switches and the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches

from controller.decisions.kill_switches import standing
from controller.decisions.kill_switches import suspended as standing_aside
from controller.decisions.lifecycle import Lifecycle, lived
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.codec import ce_type
from controller.messages.control import Kill, LifecycleChanged, SetAside
from controller.messages.events import CE_TYPES, Ownership, Registered
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import ASSIGNMENT_LOG, CATALOG, TICK
from flipside.topics.reader import Reader
from streams.control.catalog_entries import Entries
from streams.kafka.connection import reach_kafka
from streams.runtime.clock import WallClock
from streams.runtime.settings import Settings


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
