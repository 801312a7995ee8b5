"""The relay: what the store decided goes to the log and to the pricing systems, and is dropped once acknowledged."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from pydantic_core import from_json, to_json

from controller.definition.field_types import event_id, from_milliseconds, market_of, milliseconds
from controller.errors import FlipsideError
from controller.messages.codec import Headers, Record, announce_by, decode, encode, headers_of
from controller.messages.events import Assignment, Reason
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG
from streams.outputs.late_assignments import (
    Deadline,
    announced_ahead,
    overdue,
    put_back,
    put_back_before,
    void_by_stamp,
)
from streams.store import OutboxEntry
from streams.store.outbox_invariants import RULES, Newest, broken, newest
from streams.worker.last_line import Place, Suspended, alone, concerns_all, unforeseen
from streams.worker.services import Parts

ENTRIES_PER_ROUND = 25
NOTHING: Mapping[str, Sequence[str]] = {}


def assignments(entry: OutboxEntry) -> Iterator[Assignment]:
    """The messages of one outbox entry: a function of the entry alone, so that a repetition is identical."""
    h = entry.header
    for granted in entry.granted:
        day = date.fromordinal(int(str(h["day"])))
        # A day has one decision; what is urgent comes on top of it, and is another one at each instant. What was late
        # is another one as well.
        instant = f"/{h['effective']}" if h.get("urgent") else "/late" if granted.code == "late" else ""
        yield Assignment(
            id=event_id(f"{h['owner']}/{day}/{granted.unit}{instant}"),
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


def assignment_records(
    entries: Iterable[OutboxEntry],
    overdue_units: Mapping[str, Sequence[str]] = NOTHING,
    deadline: Deadline = lambda _: None,
) -> list[Record]:
    """The records of entries, spelled as `encode` spells their `assignments`, byte for byte.

    Arms that wait for their boundary say by when the brokers must have them (`controller.messages.codec.ANNOUNCE_BY`);
    not those of the entries in ``overdue_units``: of what is not control there, the topic has shown that
    it had it in time. Nor do the halves of one that was put back.

    Those are a hundred thousand on an evening, and all of them were checked when they were decided: what the units of
    an entry share is spelled once, and no model is built of what was just taken from the store.
    """
    found = list[Record]()
    for entry in entries:
        if entry.granted:
            waits = entry.id not in overdue_units and announced_ahead(entry) and not put_back_before(entry)
            by = deadline(from_milliseconds(int(str(entry.header["effective"])))) if waits else None
            found += _spelled(entry, [] if by is None else [announce_by(by)])
    return found


#: what differs between the units of an entry, in the order of the message
OF_A_UNIT = ("id", "unit", "cluster", "arm", "planned_arm", "price_minor", "expires_at", "sequence", "reason")


def _spelled(entry: OutboxEntry, only_before: Headers) -> Iterator[Record]:
    """``only_before``: one more header."""
    example = next(assignments(entry))
    fields = (
        b'"%b":%b' % (name.encode(), b"%b" if name in OF_A_UNIT else to_json(value).replace(b"%", b"%%"))
        for name, value in example
    )
    form = b"{%b}" % b",".join(fields)
    before = f"{entry.header['owner']}/{example.day}/"
    instant = f"/{entry.header['effective']}" if entry.header.get("urgent") else ""
    headers = headers_of(Assignment, "", example.decided_at)
    place = next(place for place, (name, _) in enumerate(headers) if name == "ce_id")
    ahead, behind = headers[:place], [*headers[place + 1 :], *only_before]
    # Few of these differ within an entry.
    spelled = cache(to_json)
    reason = cache(lambda code, detail: to_json({"code": code, "detail": detail}))
    expires = cache(lambda ms: to_json(None if ms is None else from_milliseconds(ms)))
    for unit, cluster, arm, planned, price, expires_ms, code, detail, sequence in entry.granted:
        # What was late has an id of its own: see `assignments`.
        identity = event_id(f"{before}{unit}{instant or ('/late' if code == 'late' else '')}")
        value = form % (
            to_json(identity), to_json(unit), to_json(cluster), spelled(arm), spelled(planned), spelled(price),
            expires(expires_ms), to_json(sequence), reason(code, detail),
        )  # fmt: skip
        yield Record(unit.encode(), value, [*ahead, ("ce_id", identity.encode()), *behind])


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


async def both(log: Coroutine[Any, Any, int | None], topic: Coroutine[Any, Any, int | None]) -> int | None:
    """Write to both topics even if the caller is cancelled: what the log has, the assignment topic has as well.

    Returns the latest stamp of the brokers on either.

    A shard may be let go in the middle of it, because its store is lost, and then nobody would know what is missing.
    """
    writing = asyncio.gather(log, topic)
    # Nobody may be left to hear how it ended.
    writing.add_done_callback(lambda done: done.cancelled() or done.exception())
    return max((stamp for stamp in await asyncio.shield(writing) if stamp is not None), default=None)


def _about(entry: OutboxEntry) -> Place:
    """The market of an entry; of records, what the first one names."""
    if entry.granted:
        return Place(market_of(entry.granted[0].unit))
    for _, body in entry.records:
        said = from_json(body)
        market = said.get("market") or market_of(said.get("unit", ""))
        return Place(market, said.get("experiment", ""))
    return Place("unknown")


class Relay:
    """Publishes the outbox of one shard while its worker owns it."""

    def __init__(self, parts: Parts, shard: int, epoch: int, suspended: Suspended | None = None) -> None:
        self._suspended = suspended or Suspended(shard, epoch)
        #: entries that cannot be published, and when that was found: they stay in the outbox, for the next owner
        self._held: dict[str, datetime] = {}
        self._parts = parts
        self._shard = shard
        self._epoch = epoch
        self._wake = asyncio.Event()
        self._newest: Newest = (0, 0)
        self._deadline: Deadline = parts.clock.at_brokers
        #: whether the brokers' clocks have a say
        self._bound = parts.settings.clock == "wall"
        #: what begins so soon cannot be sure to be out before
        self._margin = timedelta(seconds=parts.settings.publish_margin_seconds if self._bound else 0.0)

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
                # Not `wait_for`: before Python 3.12 it may take a cancellation for the end of its time.
                async with asyncio.timeout(self._parts.settings.reconcile_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> bool:
        # 1. read
        found = await self._parts.store.outbox(self._shard, ENTRIES_PER_ROUND + len(self._held))
        entries = [entry for entry in found if entry.id not in self._held]
        try:
            return await self._publish(entries)
        except Exception as error:
            if not unforeseen(error) or not entries:
                raise
            again = False

            async def one(place: int) -> None:
                nonlocal again
                again |= await self._publish(entries[place : place + 1])

            faults = await alone(range(len(entries)), one)
            tried = {_about(entry) for entry in entries}
            failed = {_about(entries[place]): fault for place, fault in faults.items()}
            if concerns_all(failed, tried):
                raise
            await self._suspended.add(self._parts, "relay", failed)
            now = self._parts.clock.now()
            self._held |= {entries[place].id: now for place in faults}
            return again or bool(faults)

    async def _publish(self, entries: Sequence[OutboxEntry]) -> bool:
        """All of it may be done again. Returns whether there is more."""
        # What should have been out before it began does not go out as it is.
        begun = overdue(entries, self._now_ms(self._margin))
        if await put_back(self._parts, self._shard, self._epoch, entries, begun):
            return True
        self._look(entries)
        if not entries:
            return False
        with self._parts.metrics.publish_seconds.time():
            # 2. publish, 3. wait for the acks of all replicas in sync. Nobody may find a decision in the log without
            # the gap before it, and they lie on partitions of their own: what is not an arm is safe first.
            await self._parts.publish(ASSIGNMENT_LOG, other_records(entries))
            stamp = await self._arms(entries, begun)
        if await self._void(entries, begun, stamp):
            return True
        if self._bound and overdue(entries, self._now_ms()).keys() - begun.keys():
            # It began before the acks came, and nobody says when it was appended: the topic is asked in the next round.
            return True
        # 4. drop
        await self._parts.store.published(self._shard, [entry.id for entry in entries])
        self._newest = max(self._newest, *map(newest, entries))
        self._skew(entries)
        # Whoever writes more wakes us.
        return len(entries) == ENTRIES_PER_ROUND

    async def _arms(self, entries: Sequence[OutboxEntry], said: Mapping[str, Sequence[str]]) -> int | None:
        """Publish the arms; those of entries in ``said`` without a deadline. Returns the brokers' latest stamp."""
        arms = assignment_records(entries, said, self._deadline)
        return await both(self._parts.publish(ASSIGNMENT_LOG, arms), self._parts.publish(ASSIGNMENT, arms))

    async def _void(
        self, entries: Sequence[OutboxEntry], begun: Mapping[str, Sequence[str]], stamp: int | None
    ) -> bool:
        """Whether any of what was just acknowledged is void by the brokers' stamp; then it has become control.

        Where only the log has it too late, both get it again without a deadline: pricing systems had it in time.
        """
        suspect = [entry for entry in entries if entry.id not in begun] if self._bound else []
        void = void_by_stamp(suspect, stamp, self._deadline)
        if not void or stamp is None:
            return False
        metrics, now = self._parts.metrics, self._parts.clock.at_brokers(self._parts.clock.now())
        ahead = 0.0 if now is None else (stamp - milliseconds(now)) / 1000
        metrics.announced_late.inc(sum(len(entry.granted) for entry in suspect if entry.id in void))
        why = f"the brokers stamped it after it took effect, {ahead:+.0f} s from this worker's clock: it is void"
        if await put_back(self._parts, self._shard, self._epoch, suspect, void, why):
            return True
        await self._arms([entry for entry in suspect if entry.id in void], void)
        return False

    def _now_ms(self, ahead: timedelta = timedelta(0)) -> int:
        return milliseconds(self._parts.clock.now() + ahead)

    def _look(self, entries: Sequence[OutboxEntry]) -> None:
        metrics, now = self._parts.metrics, self._parts.clock.now()
        decided = [int(str(entry.header["decided"])) for entry in entries if entry.header]
        waits = [*decided, *map(milliseconds, self._held.values())]
        age = (milliseconds(now) - min(waits)) / 1000 if waits else 0.0
        metrics.outbox_depth.set(self._shard, len(entries) + len(self._held))
        metrics.outbox_age.set(self._shard, max(0.0, age))
        before = self._newest
        for entry in entries:
            for rule in broken(entry, before):
                metrics.violations.labels(rule).inc()
                self._parts.log.error("invariant broken", rule=rule, shard=self._shard, entry=entry.id, why=RULES[rule])
            before = max(before, newest(entry))

    def _skew(self, entries: Sequence[OutboxEntry]) -> None:
        now = milliseconds(self._parts.clock.now())
        for entry in entries:
            if entry.granted:
                behind = (now - int(str(entry.header["effective"]))) / 1000
                self._parts.metrics.flip_skew.observe(max(0.0, behind))
