"""Claiming shards: the record that makes an epoch, and the shards that somebody else has claimed since."""

import asyncio

from controller.messages.codec import encode
from controller.messages.events import Ownership
from controller.messages.topics import TICK
from streams.worker.services import Parts


async def append_ownership(parts: Parts, number: int) -> int:
    """Say in a shard's partition of ticks that this worker takes it over; the record's offset is its epoch."""
    ownership = Ownership(worker=parts.name, at=parts.clock.now())
    record = encode(ownership, f"{parts.name}/{ownership.at.isoformat()}", ownership.at)
    sent = await parts.producer.send_and_wait(parts.topic(TICK), record.value, partition=number, headers=record.headers)
    return int(sent.offset)


class Lost:
    """Shard numbers that are forgotten after ``patience`` seconds.

    Whoever has claimed a shard after us may be one that the group has given up meanwhile: its record came late. After
    as long as it takes to be missed, the group's word counts again; otherwise the shard would be nobody's.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._until: dict[int, float] = {}

    def add(self, number: int) -> None:
        self._until[number] = asyncio.get_running_loop().time() + self._patience

    def clear(self) -> None:
        """The group has given out anew."""
        self._until.clear()

    def __contains__(self, number: int) -> bool:
        return self._until.get(number, 0.0) > asyncio.get_running_loop().time()
