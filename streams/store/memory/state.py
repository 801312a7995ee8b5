"""What the store in this process's memory holds."""

from dataclasses import dataclass, field
from datetime import date, datetime

from controller.messages.control import Kill
from controller.schedule.due import MarketPlan
from controller.validation.price_rules import PriceChange
from streams.store import Fenced, NoteKind, OutboxEntry, Registration
from streams.store.memory.inputs import MemoryInputs


@dataclass(frozen=True, slots=True)
class Held:
    """The arm that a unit was last granted, and whose it is."""

    owner: str
    day: date
    arm: str
    on_control: bool
    effective_at: datetime
    #: None: for good
    expires_at: datetime | None
    price_minor: int | None

    def lasts_to(self, instant: datetime) -> bool:
        return self.expires_at is None or self.expires_at >= instant

    def binds_after(self, instant: datetime) -> bool:
        """Whether something of this grant lies after an instant: a lease, or its very beginning."""
        return self.effective_at > instant or (self.expires_at is not None and self.expires_at > instant)


def age(registration: Registration) -> tuple[int, int]:
    """Which of two registrations of a name is later: the greater version, then the longer life."""
    return registration.experiment.version, len(registration.history)


@dataclass(slots=True)
class MemoryShard:
    epoch: int = -1
    tick: int = 0
    sequence: int = 0
    entries: int = 0
    units: dict[str, Held] = field(default_factory=dict)
    prices: dict[str, tuple[PriceChange, ...]] = field(default_factory=dict)
    plans: dict[str, MarketPlan] = field(default_factory=dict)
    outbox: list[OutboxEntry] = field(default_factory=list)
    closed: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: unit -> (epoch, sequence) of what it was granted last
    orders: dict[str, tuple[int, int]] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    #: by kind and market
    notes: dict[tuple[NoteKind, str], dict[str, str]] = field(default_factory=dict)

    def own(self, epoch: int) -> None:
        if self.epoch != epoch:
            said = f"the shard belongs to the owner with epoch {self.epoch}, not to the one with {epoch}"
            raise Fenced(said, newer=self.epoch > epoch)

    def next_id(self) -> str:
        self.entries += 1
        return f"{self.entries}-0"


class MemoryState(MemoryInputs):
    """Shards, and the definitions that all of them share; the inputs are its base."""

    def __init__(self, shards: int) -> None:
        super().__init__(shards)
        self.shards = [MemoryShard() for _ in range(shards)]
        self.registered: dict[str, Registration] = {}
        self.kills_pulled: dict[str, Kill] = {}
        self.version = 0

    async def put_registration(self, registration: Registration) -> None:
        name = registration.experiment.name
        there = self.registered.get(name)
        if there is not None and age(there) > age(registration):
            return
        if there != registration:
            self.registered[name] = registration
            self.version += 1
