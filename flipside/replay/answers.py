"""What the system has answered: the topics that a replay reads, and what was found in them so far."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date

from controller.definition.experiment import Experiment
from controller.definition.metrics import METRICS
from controller.errors import FlipsideError
from controller.messages.control import Entered, LifecycleChanged, TriggerIgnored
from controller.messages.events import Assignment, BlackoutSet, Estimate, PeriodClosed, Refused, Registered
from controller.messages.findings import RunningSequence
from controller.messages.topics import ASSIGNMENT_LOG, DEAD_LETTER, ESTIMATE, HEALTH, PANEL, SEQUENCE
from flipside.topics.reader import Reader
from streams.runtime.settings import Settings


class ReplayFailed(FlipsideError):
    """The system refused, or did not answer in time; the message names the problems, or what was waited for."""


class Answers:
    """Readers of five topics. Each question reads on, and answers None or False until the answer has come."""

    def __init__(self, settings: Settings) -> None:
        self.log = Reader(settings, [ASSIGNMENT_LOG])
        self.panel = Reader(settings, [PANEL])
        self.dead = Reader(settings, [DEAD_LETTER])
        self.estimates = Reader(settings, [ESTIMATE])
        self.findings = Reader(settings, [SEQUENCE, HEALTH])
        #: day -> unit -> its assignment for that day
        self.assignments: defaultdict[date, dict[str, Assignment]] = defaultdict(dict)
        #: triggers that were answered
        self.triggers: set[str] = set()
        #: market -> last closed day
        self._closed: dict[str, date] = {}
        #: (metric, arm) -> the newest running sequence that has a last day
        self.sequences: dict[tuple[str, str], RunningSequence] = {}

    @property
    def _readers(self) -> tuple[Reader, ...]:
        return self.log, self.panel, self.dead, self.estimates, self.findings

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """All readers are started, and stopped afterwards."""
        async with AsyncExitStack() as stack:
            for reader in self._readers:
                await reader.start()
                stack.push_async_callback(reader.stop)
            yield

    async def drain(self) -> None:
        """Read all topics to their end."""
        for reader in self._readers:
            await reader.drain()

    async def read_log(self) -> None:
        """Take in what has come to the log."""
        for message in await self.log.poll(1):
            if isinstance(message, Assignment):
                self.assignments[message.day][message.unit] = message
            elif isinstance(message, Entered | TriggerIgnored):
                self.triggers.add(message.trigger)

    async def registered(self, name: str, blackouts: Collection[str]) -> Registered | None:
        """The registration of an experiment, once its blackouts bind too. Raises ReplayFailed where it was refused."""
        await self.read_log()
        for message in self.log.messages:
            if isinstance(message, Refused):
                raise ReplayFailed(f"{message.subject} was refused:\n" + "\n".join(message.problems))
        bound = {m.blackout for m in self.log.messages if isinstance(m, BlackoutSet)}
        found = (m for m in self.log.messages if isinstance(m, Registered) and m.experiment.name == name)
        return next(found, None) if bound.issuperset(blackouts) else None

    async def answered(self, triggers: Collection[str]) -> bool:
        """Whether all of these triggers were answered."""
        await self.read_log()
        return self.triggers.issuperset(triggers)

    async def released(self, experiment: Experiment) -> bool:
        """Whether all units have an assignment for the day after the experiment's last."""
        await self.read_log()
        return self.assignments[experiment.end].keys() >= set(experiment.units)

    async def closed(self, markets: Collection[str], day: date) -> bool:
        """Whether all of these markets have closed a day."""
        for message in await self.panel.poll(1):
            if isinstance(message, PeriodClosed):
                self._closed[message.market] = max(message.day, self._closed.get(message.market, message.day))
        return all(self._closed.get(market, date.min) >= day for market in markets)

    async def estimated(self, through: date) -> bool:
        """Whether the estimates of all metrics through a day are there."""
        await self.estimates.poll()
        come = {m.metric for m in self.estimates.messages if isinstance(m, Estimate) and m.through == through}
        return come >= set(METRICS)

    async def read_findings(self) -> None:
        """Take in running sequences and findings."""
        for message in await self.findings.poll(1):
            if isinstance(message, RunningSequence) and message.through is not None:
                self.sequences[message.metric, message.arm] = message

    async def sequences_through(self, day: date, wanted: Collection[tuple[str, str]]) -> bool:
        """Whether the running sequences of these (metric, arm) reach a day."""
        await self.read_findings()
        return all(key in self.sequences and (self.sequences[key].through or date.min) >= day for key in wanted)

    def guardrail_changes(self) -> list[LifecycleChanged]:
        """What guardrails did to the experiment, as far as the log was read."""
        return [m for m in self.log.messages if isinstance(m, LifecycleChanged) and m.role == "guardrail"]
