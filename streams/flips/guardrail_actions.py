"""Guarding: a running sequence that says harm comes back in as an event, and ends or pauses its experiment.

The analysis publishes what it has seen; whether that is too much is for the guardrails that an owner has declared, and
what follows is for the lifecycle. So a number moves a price only along the same way as a person: by a request.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain

from aiokafka import AIOKafkaConsumer

from controller.decisions.guardrails import Verdict, first_breach
from controller.decisions.lifecycle import TRANSITIONS
from controller.errors import UnreadableMessage
from controller.messages.codec import ce_type, encode, message_of
from controller.messages.control import GuardrailBreached, LifecycleRequest
from controller.messages.findings import FINDING_TYPES, RunningSequence
from controller.messages.topics import ASSIGNMENT_LOG, DEFINITION, MAX_RECORD_BYTES, SEQUENCE
from streams.control.overrides import life
from streams.kafka.connection import stop_client
from streams.kafka.dead_letters import Incoming, unreadable
from streams.store import Registration
from streams.worker.backoff import Backoff
from streams.worker.last_line import Spared
from streams.worker.services import Parts

DUTY = "guard"


class Guard:
    """Reads running sequences; a worker of the group reads each, and acts once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._spared = Spared(parts)
        self._version = -1
        self._registrations: dict[str, Registration] = {}
        #: requests that were made; a repeated one is ignored
        self._asked: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look at every sequence until asked to stop; what was looked at by half is looked at again."""
        parts, settings = self._parts, self._parts.settings
        consumer = AIOKafkaConsumer(
            parts.topic(SEQUENCE),
            **parts.connection,
            group_id=parts.topic(f"flipside.{DUTY}"),
            client_id=f"{parts.name}-{DUTY}",
            group_instance_id=settings.worker_id or None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=settings.fetch_wait_ms,
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 3,
        )
        backoff, wait = Backoff(parts, DUTY), settings.reconcile_seconds
        started = False
        try:
            while not stop.is_set():
                async with backoff:
                    if not started:
                        await consumer.start()
                        started = True
                    polled = await consumer.getmany(timeout_ms=int(min(wait, 1.0) * 1000))
                    try:
                        for record in chain.from_iterable(polled.values()):
                            await self._spared.each([record], self._look_at, list, _no_position)
                    except BaseException:
                        # Read again, by another worker where the partition has moved to it.
                        for partition in polled.keys() & consumer.assignment():
                            consumer.seek(partition, polled[partition][0].offset)
                        raise
                    if polled:
                        await consumer.commit()
        finally:
            await stop_client(consumer)

    async def _look_at(self, records: Sequence[Incoming]) -> None:
        for record in records:
            await self.look(record)

    async def look(self, record: Incoming) -> None:
        """Act on one record, where a guardrail asks for it."""
        if record.value is None or ce_type(record.headers) != FINDING_TYPES[RunningSequence]:
            return
        parts = self._parts
        sequence = message_of(record, RunningSequence)
        if isinstance(sequence, UnreadableMessage):
            await parts.reject([unreadable(record, sequence)], parts.clock.now())
            return
        if await parts.store.registrations_version(0) != self._version:
            self._version, self._registrations = await parts.store.registrations(0)
        known = self._registrations.get(sequence.experiment)
        if known is None or (known.experiment.version, known.design_hash) != (
            sequence.experiment_version, sequence.design_hash,
        ):  # fmt: skip
            return
        for verdict in breaches(known, sequence):
            await self._act(known, sequence, verdict)

    async def _act(self, known: Registration, sequence: RunningSequence, verdict: Verdict) -> None:
        """Say that a guardrail is breached, and ask for what its owner has declared."""
        parts, now = self._parts, self._parts.clock.now()
        lived, action = life(known, now), verdict.action
        assert action is not None
        assert verdict.upper_limit is not None
        name = f"{sequence.experiment}.{sequence.experiment_version}/guardrail/{sequence.metric}/{sequence.arm}"
        heard = any(change.id == f"{name}/{action}" for change in lived.history)
        if heard or f"{name}/{action}" in self._asked or action not in TRANSITIONS[lived.state]:
            return
        guardrail = verdict.guardrail
        breached = GuardrailBreached(
            id=name,
            experiment=sequence.experiment,
            experiment_version=sequence.experiment_version,
            design_hash=sequence.design_hash,
            metric=sequence.metric,
            arm=sequence.arm,
            upper_limit=verdict.upper_limit,
            tolerance=guardrail.tolerance,
            alpha=guardrail.alpha,
            blocks=verdict.blocks,
            on_breach=guardrail.on_breach,
            breached_at=sequence.computed_at_event_time or now,
        )
        request = LifecycleRequest(
            id=f"{name}/{action}",
            experiment=sequence.experiment,
            action=action,
            role="guardrail",
            who=f"guardrail on {sequence.metric}",
            why=f"{sequence.arm} changes {sequence.metric} by less than {verdict.upper_limit:.4g} a unit-day after "
            f"{verdict.blocks} blocks (error at most {guardrail.alpha:g}); put up with is -{guardrail.tolerance:g}",
            requested_at=now,
        )
        await parts.publish(ASSIGNMENT_LOG, [encode(breached, breached.id, breached.breached_at)])
        await parts.publish(DEFINITION, [encode(request, request.id, now)])
        self._asked.add(request.id)
        parts.metrics.breaches.labels(guardrail.on_breach).inc()
        parts.log.warning("guardrail breached", experiment=sequence.experiment, action=action, why=request.why)


async def _no_position(_: Incoming) -> None:
    """The group's commit passes over what was set aside."""


def breaches(known: Registration, sequence: RunningSequence) -> Iterator[Verdict]:
    """What an experiment's guardrails say of a sequence, as far as they are breached: harm before a signal."""
    experiment = known.experiment
    found = [
        verdict
        for guardrail in experiment.guardrails
        if guardrail.metric == sequence.metric
        for verdict in (first_breach(guardrail, sequence, len(experiment.arms) - 1),)
        if verdict is not None
    ]
    yield from sorted(found, key=lambda verdict: verdict.action != "revert")
