"""The part of the store that a rebuild needs: what it stands at against the log, and writing back what was lost.

A port of its own beside `streams.store.Store`, with the same two adapters and the same rules. What is written back to a
shard is merged, newer over older, under its owner's epoch: doing it twice, or with records from before, does no harm.
An input is written back whole under a token, and counts as missing until it is finished.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from controller.errors import CannotReach
from controller.messages.control import Kill
from controller.schedule.due import MarketPlan
from streams.store import Registration

#: a partition of the log or of the panel -> offset of the first record that is not yet part of the shard's state
LogPositions = Mapping[str, int]


class Damaged(CannotReach):
    """Something in the store is not what was written: a key of another type, or text that no Flipside wrote.

    ``shard`` or ``input`` says what must be rebuilt. Callers retry, as with a server that is unavailable.
    """

    def __init__(self, key: str, what: object, place: tuple[str, int]) -> None:
        super().__init__(f"{key} is damaged: {what}")
        topic, number = place
        self.shard = number if topic == "t" else None
        self.input = None if topic == "t" else (topic, number)


@dataclass(frozen=True, slots=True)
class HeldUnit:
    """The arm that a unit was last granted."""

    unit: str
    #: experiment.version
    owner: str
    #: ordinal of the last local day that was decided for it
    day: int
    arm: str
    on_control: bool
    #: milliseconds; ``expires_ms`` is 0 for good
    effective_ms: int
    expires_ms: int
    price_minor: int | None
    sequence: int
    epoch: int
    #: as read from the log: it went from one experiment to another there, so that no day decided before that counts
    changed_hands: bool = field(default=False, compare=False)

    @property
    def order(self) -> tuple[int, int]:
        """Which of two grants is newer."""
        return self.epoch, self.sequence


def newest(said: HeldUnit, other: HeldUnit | None) -> HeldUnit:
    """Of what the log says of a unit and what was known before it, the later, as in `restore_units.lua`.

    What was decided for a later day stays decided, unless another experiment has had the unit since.
    """
    if other is None or said.order <= other.order:
        return other or said
    same = other.owner == said.owner and not said.changed_hands
    return replace(said, day=max(other.day, said.day)) if same else said


class Still(NamedTuple):
    """A shard that owes the log nothing. Two that are equal: nothing was decided in between."""

    sequence: int
    #: offset of the first tick not yet decided
    tick: int
    #: the last entry that its outbox ever had
    last: str


@dataclass(frozen=True, slots=True)
class ShardRest:
    """What a shard holds besides its units."""

    plans: Mapping[str, MarketPlan]
    #: market -> (last closed day, closings published)
    closed: Mapping[str, tuple[int, int]]
    sequence: int
    #: offset of the first tick not yet decided; 0: as it is
    tick: int = 0


@dataclass(frozen=True, slots=True)
class CountedDay:
    """The total of a unit-day as it was published, or as it was counted anew."""

    market: str
    day: int
    unit: str
    quantity: int
    revenue_minor: int
    cost_minor: int
    costed: int
    events: int
    #: events of the row that was published last; -1 for none
    published: int
    #: that of the next row
    revision: int
    #: of the published events those that came after the day had been closed for the first time
    late: int = 0


class RestorableStore(Protocol):
    """See above. Methods that name an epoch raise Fenced."""

    # --- shards -------------------------------------------------------------------------------------------------------

    async def log_positions(self, shard: int) -> dict[str, int]:
        """What the shard's state holds of the log; empty where none is recorded: it is new, or lost."""
        ...

    async def stand(self, shard: int, epoch: int, positions: LogPositions | None = None) -> None:
        """Fenced unless the shard is the caller's and no older than what this store has told it; then notes positions.

        Without positions, a shard that has none is fenced as well.
        """
        ...

    async def still(self, shard: int, epoch: int) -> Still | None:
        """How far a shard has got; None while its outbox owes the log anything."""
        ...

    async def held(self, shard: int) -> dict[str, HeldUnit]:
        """Every unit that was ever granted an arm."""
        ...

    def held_by_turns(self, shard: int) -> AsyncIterator[list[HeldUnit]]:
        """The same, some hundred at a time, so that nobody waits for it; one that changes meanwhile may come twice."""
        ...

    async def restore_units(self, shard: int, epoch: int, units: Sequence[HeldUnit]) -> int:
        """Write back what is newer than what is there; returns how many were."""
        ...

    async def restore_rest(self, shard: int, epoch: int, rest: ShardRest) -> None:
        """Write back what is further on than what is there."""
        ...

    async def restore_registrations(self, shard: int, registrations: Sequence[Registration]) -> None:
        """Write back those of a later version, or with a longer life, than what is there."""
        ...

    async def restore_kills(self, shard: int, kills: Sequence[Kill]) -> None:
        """Write words on switches back that were requested later than what is there."""
        ...

    async def shard_damage(self, shard: int) -> Damaged | None:
        """What cannot be read of a shard; its units are looked at only where there was trouble before."""
        ...

    async def forget_shard(self, shard: int) -> None:
        """Drop everything of a shard but its epoch: its owner is fenced, and its next owner rebuilds it."""
        ...

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def with_position(self, topic: str, partitions: Sequence[int]) -> frozenset[int]:
        """Those of some partitions of an input that have a position, even one at the beginning; asked in one go."""
        ...

    async def input_damage(self, topic: str, partition: int) -> Damaged | None:
        """What cannot be read of an input, if there was trouble with it before."""
        ...

    async def begin_input(self, topic: str, partition: int, token: str) -> None:
        """Drop everything of an input; only who has this token may write it back."""
        ...

    async def put_ids(self, partition: int, token: str, ids: Sequence[tuple[int, bytes]]) -> frozenset[int]:
        """Remember ids of sales; returns the places of those that were remembered already. Raises Fenced."""
        ...

    async def put_days(self, partition: int, token: str, days: Sequence[CountedDay]) -> None:
        """Write totals; those that were not published as they are will be. Raises Fenced."""
        ...

    async def finish_input(
        self,
        topic: str,
        partition: int,
        token: str,
        position: int,
        firsts: Mapping[tuple[str, int], int] | None = None,
        sealed: Mapping[str, int] | None = None,
    ) -> None:
        """The input stands at ``position``. ``firsts``: where each market's day began. Raises Fenced."""
        ...

    async def forget_input(self, topic: str, partition: int) -> None:
        """The reader of the input finds nothing, and rebuilds it."""
        ...

    async def days(self, partition: int) -> list[CountedDay]:
        """Every unit-day that is kept of a sale partition."""
        ...
