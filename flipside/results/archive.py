"""Findings as they are published, also as Parquet: every day and revision, without a consumer of Kafka.

The topics stay the truth. What was published while no archive ran is written at the next start, and `flipside export`
writes the same rows and the panels as well.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.findings import Look, RunningSequence
from flipside.results.outcome import FINDINGS, read_topics
from streams.runtime.settings import Settings

log = structlog.get_logger(__name__)

#: findings of so many seconds are written at once: those of one experiment and day share a file
EVERY_SECONDS = 1.0


Heard = TypeVar("Heard")
#: version of the experiment, and revision
Which = tuple[int, int]
Looks = tuple[Look, ...]


def both(first: Callable[[Heard], None], second: Callable[[Heard], None]) -> Callable[[Heard], None]:
    """One listener that tells two."""

    def tell(heard: Heard) -> None:
        first(heard)
        second(heard)

    return tell


class Archive:
    """Takes findings without delay, and writes them from a thread, so that nothing waits for a disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[Message] = []
        #: key of a sequence -> the latest that was taken
        self._sequences: dict[str, RunningSequence] = {}
        #: the same -> version and revision of the one that was written, and its looks
        self._written: dict[str, tuple[Which, Looks]] = {}

    def take(self, finding: Message) -> None:
        """Keep a finding until the next write; of a sequence, its latest state."""
        if isinstance(finding, RunningSequence):
            self._sequences[finding.key] = finding
        else:
            self._waiting.append(finding)

    def _grown(self) -> list[RunningSequence]:
        """The sequences that waited: where one has only grown since it was written, its new looks."""
        found = []
        for name, sequence in self._sequences.items():
            before, had = self._written.get(name, ((0, 0), ()))
            looks = sequence.looks
            if had and before == _which(sequence) and looks[: len(had)] == had:
                looks = looks[len(had) :]
                if not looks:
                    continue
            found.append(sequence.model_copy(update={"looks": looks}))
        return found

    async def run(self, settings: Settings, stop: asyncio.Event) -> None:
        """Catch up with the topics, then write once a second until ``stop``; what waits then is written too.

        A folder that cannot be written to is logged, and its findings wait: the estimates go on.
        """
        for finding in await read_topics(settings, FINDINGS):
            self.take(finding)
        while not stop.is_set():
            await self._write()
            try:
                await asyncio.wait_for(stop.wait(), EVERY_SECONDS)
            except TimeoutError:
                continue
        await self._write()

    async def _write(self) -> None:
        from analysis.export.folder import write
        from analysis.export.tables import findings_of

        batch, self._waiting = [*self._waiting, *self._grown()], []
        taken, self._sequences = self._sequences, {}
        if not batch:
            return
        try:
            await asyncio.to_thread(lambda: write(findings_of(batch), self._folder))
        except FlipsideError as error:
            log.warning("findings not exported", folder=str(self._folder), waiting=len(batch), reason=str(error))
            self._waiting = [m for m in batch if not isinstance(m, RunningSequence)] + self._waiting
            self._sequences = taken | self._sequences
        else:
            self._written |= {name: (_which(sequence), sequence.looks) for name, sequence in taken.items()}


def _which(sequence: RunningSequence) -> Which:
    return sequence.experiment_version, sequence.revision
