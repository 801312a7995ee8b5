"""The relay: what the store decided goes to the log and to the pricing systems, and is dropped once acknowledged."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import date

from controller.codec import Record, decode, encode
from controller.errors import FlipsideError
from controller.events import Assignment, Reason
from controller.topics import ASSIGNMENT, ASSIGNMENT_LOG
from controller.wire import from_milliseconds
from streams.parts import Parts
from streams.store import OutboxEntry

ENTRIES_PER_ROUND = 25


def assignments(entry: OutboxEntry) -> Iterator[Assignment]:
    """The messages of one outbox entry: a function of the entry alone, so that a repetition is identical."""
    h = entry.header
    for granted in entry.granted:
        day = date.fromordinal(int(str(h["day"])))
        # A day has one decision; what is urgent comes on top of it, and is another one at each instant.
        instant = f"/{h['effective']}" if h.get("urgent") else ""
        yield Assignment(
            id=f"{h['owner']}/{day}/{granted.unit}{instant}",
            unit=granted.unit,
            cluster=granted.cluster,
            experiment=str(h["experiment"]),
            experiment_version=int(str(h["version"])),
            design_hash=str(h["design_hash"]),
            block=int(str(h["block"])),
            day=day,
            arm=granted.arm,
            planned_arm=granted.planned_arm,
            price_minor=granted.price_minor,
            currency=str(h["currency"]),
            effective_at=from_milliseconds(int(str(h["effective"]))),
            expires_at=None if granted.expires_ms is None else from_milliseconds(granted.expires_ms),
            decided_at=from_milliseconds(int(str(h["decided"]))),
            epoch=entry.epoch,
            sequence=granted.sequence,
            reason=Reason(code=granted.code, detail=granted.detail),  # type: ignore[arg-type]
        )


def assignment_records(entries: Iterable[OutboxEntry]) -> list[Record]:
    return [encode(a, a.id, a.decided_at) for entry in entries for a in assignments(entry)]


def other_records(entries: Iterable[OutboxEntry]) -> list[Record]:
    """Messages that were stored whole, as (CloudEvents type, JSON)."""
    found = []
    for entry in entries:
        for kind, body in entry.records:
            message = decode([("ce_type", kind.encode())], body.encode())
            identity, at = getattr(message, "id", None), getattr(message, "decided_at", None)
            if identity is None or at is None:
                raise FlipsideError(f"{kind} has no id or instant: it cannot be published under the same id twice")
            found.append(encode(message, identity, at))
    return found


class Relay:
    """Publishes the outbox of one shard while its worker owns it."""

    def __init__(self, parts: Parts, shard: int) -> None:
        self._parts = parts
        self._shard = shard
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something to publish."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. Numbered as in design: read, publish, wait for the acks, drop."""
        while True:
            self._wake.clear()
            while await self._round():
                pass
            try:
                await asyncio.wait_for(self._wake.wait(), self._parts.settings.reconcile_seconds)
            except TimeoutError:
                continue

    async def _round(self) -> bool:
        # 1. read
        entries = await self._parts.store.outbox(self._shard, ENTRIES_PER_ROUND)
        self._parts.metrics.outbox_depth.set(len(entries))
        if not entries:
            return False
        with self._parts.metrics.publish_seconds.time():
            # 2. publish, 3. wait for the acks of all replicas in sync
            arms = assignment_records(entries)
            await asyncio.gather(
                self._parts.publish(ASSIGNMENT_LOG, [*arms, *other_records(entries)]),
                self._parts.publish(ASSIGNMENT, arms),
            )
        # 4. drop
        await self._parts.store.published(self._shard, [entry.id for entry in entries])
        return True
