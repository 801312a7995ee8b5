"""The store as a port: where decisions become facts. Two adapters, Redis and memory, under one suite of tests.

Two kinds of keys never meet in one call, so that each call stays on one node of a cluster:

- a *shard* is a partition of the tick topic: its markets' units, plans, definitions, blackouts and outbox;
- an *input* is a partition of the sale or competitor-price topic: what was folded from it and the offset up to which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from controller.decisions.decide import Flip
from controller.definition.experiment import Experiment
from controller.definition.field_types import MOST_A_DAY
from controller.errors import CannotReach as CannotReach
from controller.errors import FlipsideError
from controller.messages.control import Kill, LifecycleChanged, State
from controller.messages.inputs import Blackout
from controller.schedule.due import MarketPlan
from controller.validation.price_rules import PriceChange

if TYPE_CHECKING:
    from streams.store.restore_port import CountedDay, RestorableStore
    from streams.store.trigger_port import TriggerStore

NOTHING = timedelta(0)
#: what a shard's owner keeps of each market: product -> whole days of its listing; day (ordinal) -> events by partition
#: of the days that silence is judged by; day -> unsold units of the days that may still be revised
NoteKind = Literal["listing", "history", "unsold"]
NOTE_KINDS: tuple[NoteKind, ...] = ("listing", "history", "unsold")
#: field -> text, or None to drop it
NoteChanges = Mapping[NoteKind, Mapping[str, str | None]]
#: of an event's id, as it is remembered: of a thousand million ids, two share one with a chance of one in 10^10
DIGEST_BYTES = 12


class Fenced(FlipsideError):
    """The store names another owner of the shard: the caller stops deciding for it at once.

    ``newer``: another has taken the shard over since. Otherwise the store has come back older than its owner, who may
    claim the shard again.
    """

    def __init__(self, message: str, *, newer: bool) -> None:
        super().__init__(message)
        self.newer = newer


class StoreRefuses(CannotReach):
    """The store answers, but takes nothing in (memory or disk full, a replica, rights): nothing of the call is written.

    The message says what to mend; then the same call may be repeated.
    """


class CountedBefore(FlipsideError):
    """Some ids of a batch were counted before; nothing of the batch is written. ``which``: their places in the list."""

    def __init__(self, which: Sequence[int]) -> None:
        super().__init__(f"{len(which)} events of the batch were counted before")
        self.which = frozenset(which)


class DayFull(FlipsideError):
    """Some unit-days cannot hold what a batch adds to them; nothing of the batch is written.

    ``held``: (unit, ordinal of the day) -> quantity, revenue and cost (minor units) of each of them so far.
    """

    def __init__(self, held: Mapping[tuple[str, int], tuple[int, int, int]]) -> None:
        super().__init__(f"{len(held)} unit-days of the batch would exceed {MOST_A_DAY}")
        self.held = held


class TopicPlace(NamedTuple):
    """Where in its topic something was said: of two words of one partition, that with the greater offset is later."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the proposals of one flip."""

    #: arms that changed
    flips: int = 0
    #: changes that a blackout forbade
    blocked: int = 0
    #: units that hold another arm than was proposed
    kept: int = 0
    #: proposals that had been decided before
    repeated: int = 0
    #: units that another experiment holds, or whose definition has changed: nothing was written for them
    withheld: tuple[str, ...] = ()

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.flips + other.flips,
            self.blocked + other.blocked,
            self.kept + other.kept,
            self.repeated + other.repeated,
            self.withheld + other.withheld,
        )


class Granted(NamedTuple):
    """The arm that one unit has from the flip's instant on. A tuple, because 100,000 are made on an evening."""

    unit: str
    cluster: str
    arm: str
    planned_arm: str
    price_minor: int | None
    #: milliseconds; None for a release
    expires_ms: int | None
    code: str
    detail: str
    sequence: int


class LogRecord(NamedTuple):
    """A message for the log, other than an assignment, as the outbox keeps it: it is published as it stands."""

    #: the CloudEvents type
    kind: str
    #: the message as JSON
    body: str


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """What a shard owes the log: the granted arms of one batch, or records that go out as they are."""

    id: str
    epoch: int
    #: the header of the flip, as `flip_header` wrote it; empty for records
    header: Mapping[str, object] = field(default_factory=dict)
    granted: tuple[Granted, ...] = ()
    records: tuple[LogRecord, ...] = ()
    #: the rest of an entry that was put back: what was decided after it may have gone out before it
    again: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """An experiment as the store holds it: its definition, and its life but for what time does by itself."""

    experiment: Experiment
    design_hash: str
    state: State = "scheduled"
    frozen: bool = False
    history: tuple[LifecycleChanged, ...] = ()
    #: unit -> list price and cost (minor units) when it was registered: what a change of the catalog is a change from
    listed: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PastPrices:
    """The changes of a unit's price that flips have made, as far back as they were asked to remember."""

    changes: tuple[PriceChange, ...] = ()
    #: end of the lease of an arm other than control: what the price goes back at, unless a flip comes first
    lapses_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Sales of a unit in a local day, to be added to what is there."""

    market: str
    #: proleptic ordinal of the local day
    day: int
    unit: str
    quantity: int
    revenue_minor: int
    cost_minor: int
    #: how many of the events told their cost
    costed: int
    events: int


@dataclass(frozen=True, slots=True)
class DirtyCell:
    """The total of a unit-day that has changed since it was last published."""

    #: the sale partition that its sales came through
    partition: int
    market: str
    day: int
    unit: str
    quantity: int
    revenue_minor: int
    cost_minor: int
    costed: int
    events: int
    #: how often it has been published before
    revision: int
    #: the sales of the partition before this offset are in the total, and none from it on
    offset: int
    #: events of the row that was published last; -1 for none
    published: int = -1
    #: of the published events those that came after the day had been closed for the first time
    late: int = 0

    def after_closing(self) -> "DirtyCell":
        """As it is published once its day has been closed: what is new is late, and its first row is a revision."""
        return replace(
            self, revision=max(self.revision, 1), late=self.late + self.events - max(self.published, 0)
        )  # fmt: skip


class CaughtUp(NamedTuple):
    """How far a sale partition is folded."""

    #: everything published before this instant is
    at: datetime | None
    position: int
    #: which count of the input this is: it has another name each time that the input was counted again
    counting: str = ""


def plan_key(experiment: str, version: int, market: str) -> str:
    """The name of a market's plan for one version of an experiment."""
    return f"{experiment}.{version}/{market}"


class Store(Protocol):
    """Every method is safe to repeat: a reply that was lost may be asked for again.

    Every method raises CannotReach where the store does not answer, and StoreRefuses where it answers but cannot write.
    """

    #: what a rebuild needs, and what triggers need: ports of their own
    @property
    def restoring(self) -> "RestorableStore": ...

    @property
    def triggers(self) -> "TriggerStore": ...

    # --- shards -----------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, epoch: int) -> int:
        """Take a shard over; returns the offset of the first tick that is not yet decided. Raises Fenced."""
        ...

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        """How far each market of the shard has got, by `plan_key`."""
        ...

    async def flip(self, shard: int, epoch: int, flip: Flip, remember: timedelta = NOTHING) -> Outcome:
        """Grant or keep, unit by unit: fence, definition, repetition, exclusivity, blackout; then state and outbox.

        An urgent flip passes over what was decided for its day; as a release it passes over blackouts as well, changes
        no unit that nobody has granted, and calls units withheld that another experiment has been promised from later
        on. Prices are kept for `past_prices` as far back as ``remember``. One atomic call for each few hundred units.
        Raises Fenced.
        """
        ...

    async def flip_all(
        self, shard: int, epoch: int, flips: Sequence[Flip], remember: timedelta = NOTHING
    ) -> list[Outcome]:
        """Several flips, one after the other, each as by `flip`; one that is refused ends the row."""
        ...

    async def past_prices(self, shard: int, units: Sequence[str]) -> dict[str, PastPrices]:
        """What flips that were asked to remember did to the prices of units; a unit without any is left out."""
        ...

    async def settle(
        self, shard: int, epoch: int, plans: Mapping[str, MarketPlan], records: Sequence[LogRecord], tick: int
    ) -> None:
        """Record that ticks before offset ``tick`` are decided, with the plans and log records they led to.

        All or nothing; nothing where that offset, or a later one, has been settled before. Raises Fenced.
        """
        ...

    async def tell(self, shard: int, epoch: int, records: Sequence[LogRecord]) -> None:
        """Put log records in the outbox, ahead of whatever is decided next; each call does. Raises Fenced."""
        ...

    async def outbox(self, shard: int, limit: int) -> list[OutboxEntry]:
        """The oldest entries that are not yet published."""
        ...

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        """Drop outbox entries whose records the brokers have acknowledged."""
        ...

    async def put_back(self, shard: int, epoch: int, id: str, units: Sequence[str], detail: str) -> None:
        """Make control of what an outbox entry grants these units, with the reason `late`: it did not go out in time.

        That is a decision of this owner, newer than the one it replaces, in an entry of its own; the rest of the entry
        comes back at the end of the outbox with another id. Nothing where it is not there any more. What was decided
        for a unit since then stays. Raises Fenced.
        """
        ...

    # --- definitions and blackouts, the same in every shard -----------------------------------------------------------

    # Whoever writes these owns nothing, and may have slept since it read what it writes: what is later there, stays.

    async def put_registration(self, registration: Registration) -> None:
        """Store an experiment, unless one of a later version, or with a longer life, is there."""
        ...

    async def registrations(self, shard: int) -> tuple[int, dict[str, Registration]]:
        """A counter that moves with every change, and the experiments by name."""
        ...

    async def registrations_version(self, shard: int) -> int: ...

    async def put_kill(self, kill: Kill, place: TopicPlace | None = None) -> bool:
        """Store the latest word on a switch; the counter of the registrations moves with it.

        False where a later one of its partition is there. Without a ``place`` it is taken whatever is there.
        """
        ...

    async def kills(self, shard: int) -> dict[str, Kill]:
        """The latest word on each switch, lifted ones too."""
        ...

    async def put_blackout(self, blackout: Blackout, place: TopicPlace | None = None) -> bool:
        """Store a window; False where something later was said of it, be it that it is removed. See `put_kill`."""
        ...

    async def remove_blackout(self, blackout_id: str, place: TopicPlace | None = None) -> bool:
        """Remove a window; False where it was set later. See `put_kill`."""
        ...

    async def blackouts(self, shard: int) -> dict[str, Blackout]: ...

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def position(self, topic: str, partition: int) -> int:
        """The offset of the first record of an input that is not yet folded; 0 at the beginning."""
        ...

    async def fold_sales(
        self, partition: int, start: int, end: int, cells: Sequence[Cell], ids: Sequence[tuple[int, bytes]] = ()
    ) -> bool:
        """Add the cells of records [start, end) if ``start`` is the stored position, which then is ``end``.

        False where the stored position is neither: a gap, or records that were folded long ago; and where a day of the
        cells is sealed. A repetition of the latest batch changes nothing and is True. ``ids``: of each sale its day and
        a digest of `DIGEST_BYTES`, none twice; they are remembered until the day is sealed. Raises CountedBefore, and
        DayFull where quantity, revenue or cost of a unit-day would exceed `MOST_A_DAY`.
        """
        ...

    async def seal(self, partition: int, last: Mapping[str, int]) -> None:
        """Days of each market up to this one (ordinal) take no more sales; what was kept of them is let go.

        A unit-day that is not yet published stays until it is: say it again.
        """
        ...

    async def shut(self, last: Mapping[str, int]) -> None:
        """Days of each market up to this one take no more sales in any partition; what is kept of them stays."""
        ...

    async def sealed(self, partition: int) -> dict[str, int]:
        """Market -> its last sealed day (ordinal), as this partition was told."""
        ...

    async def recount_from(self) -> list[int]:
        """For each sale partition: the offset from which all sales of days that are not sealed can be counted again."""
        ...

    async def mark_caught_up(self, partition: int, position: int, at: datetime) -> bool:
        """Every sale published to the partition before ``at`` has been folded, up to ``position``.

        False, and nothing is written, where the store is elsewhere: it has come back older, and must fold again first.
        """
        ...

    async def caught_up(self) -> list[CaughtUp]:
        """How far each sale partition is folded."""
        ...

    async def dirty(self, markets: Mapping[str, int]) -> list[DirtyCell]:
        """Changed unit-days of each market up to the given day (ordinal), over all sale partitions."""
        ...

    async def cleaned(self, cells: Sequence[DirtyCell]) -> None:
        """These totals are published, with these revisions; a cell that changed meanwhile stays dirty."""
        ...

    async def unit_days(self, market: str, day: int) -> "list[CountedDay]":
        """The unit-days of a market's day (ordinal), over all sale partitions, as they stand and were published."""
        ...

    async def time(self) -> datetime:
        """What the store's own clock shows."""
        ...

    # --- closings, by shard -------------------------------------------------------------------------------------------

    async def closed_through(self, shard: int) -> dict[str, tuple[int, int]]:
        """Market -> (last closed day, number of closings published)."""
        ...

    async def closed_days(self) -> dict[str, int]:
        """Market -> last closed day (ordinal), over all shards."""
        ...

    async def set_closed(self, shard: int, epoch: int, markets: Mapping[str, tuple[int, int]]) -> None:
        """Raises Fenced."""
        ...

    async def notes(self, shard: int, kind: NoteKind, market: str) -> dict[str, str]:
        """What the owners of a shard keep of a market."""
        ...

    async def note(self, shard: int, epoch: int, market: str, changes: NoteChanges) -> None:
        """Write and drop some of it, all or nothing. Raises Fenced."""
        ...

    async def close(self) -> None: ...
