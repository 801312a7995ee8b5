"""Short spellings of what the store is given."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from controller.decisions.decide import Flip, Proposal
from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.field_types import market_of
from controller.messages.control import LifecycleChanged
from controller.messages.inputs import Blackout, Scope
from streams.store import Cell, DirtyCell, Registration, Store

S = TypeVar("S", bound=Store)
#: the first instant of day 0
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
ARMS = ("control", "low", "high")


def at(day: float) -> datetime:
    """So many days after day 0 began."""
    return MIDNIGHT + timedelta(days=day)


def ordinal(day: int) -> int:
    return at(day).date().toordinal()


async def day_totals(store: Store, market: str, day: int) -> tuple[int, int]:
    """Number of unit-days and of sale events of a market's day (ordinal)."""
    found = await store.unit_days(market, day)
    return len(found), sum(d.events for d in found)


def experiment(name: str = "juice", version: int = 1) -> Experiment:
    """A definition that says little: the store asks only for its name, version and hash."""
    arms = (Arm(name="control"), Arm(name="low", price=PriceRule(absolute_minor=90)))
    return Experiment(
        name=name, version=version, currency="EUR", units=("de/a", "de/b"), arms=arms, start=date(2026, 3, 2), days=9,
        seed="seed",
    )  # fmt: skip


def flip(
    arms: dict[str, int],
    day: int = 0,
    *,
    name: str = "juice",
    days: int = 1,
    release: bool = False,
    version: int = 1,
    clusters: dict[str, str] | None = None,
    prices: tuple[int | None, ...] = (100, 90, 110),
    arm_names: tuple[str, ...] = ARMS,
    design_hash: str | None = None,
    market: str | None = None,
) -> Flip:
    """Unit -> index of its arm, from the beginning of a day, for so many days."""
    return Flip(
        experiment=name,
        experiment_version=version,
        design_hash=f"hash of {name}" if design_hash is None else design_hash,
        market=market or market_of(next(iter(arms))),
        block=day,
        day=at(day).date(),
        arms=arm_names,
        currency="EUR",
        effective_at=at(day),
        expires_at=None if release else at(day + days),
        keep_until=at(day + 1),
        decided_at=at(day) - timedelta(hours=1),
        proposals=tuple(
            Proposal(unit, (clusters or {}).get(unit, "all"), 0 if release else arm, prices)
            for unit, arm in arms.items()
        ),
    )


def window(id: str, kind: str, name: str, starts: float, ends: float) -> Blackout:
    """A blackout, in days."""
    scope = Scope.model_validate({"kind": kind, "name": name})
    return Blackout(id=id, scope=scope, starts_at=at(starts), ends_at=at(ends), reason="a test")


def cell(unit: str = "de/a", day: int = 0, *, quantity: int = 1, revenue: int = 100, cost: int = 0, costed: int = 0,
         events: int = 1) -> Cell:  # fmt: skip
    return Cell(market_of(unit), ordinal(day), unit, quantity, revenue, cost, costed, events)


def total(cells: list[DirtyCell]) -> list[tuple[str, int, int, int]]:
    """Unit, quantity, revenue and revision of dirty cells."""
    return [(c.unit, c.quantity, c.revenue_minor, c.revision) for c in cells]


@dataclass
class Batch:
    """Records on their way to one partition."""

    records: list[tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]] = field(default_factory=list)

    def append(self, *, timestamp: None, key: bytes, value: bytes, headers: Any) -> int:
        self.records.append((key, value, tuple(headers)))
        return len(self.records)

    def close(self) -> None: ...


async def prepared(store: S) -> S:
    """A store whose first shard is owned, and knows an experiment."""
    await store.put_registration(Registration(experiment(), "hash of juice"))
    await store.claim(0, 1)
    return store


def paused() -> LifecycleChanged:
    return LifecycleChanged(
        id="pause", experiment="juice", experiment_version=1, action="pause", from_state="running", to_state="paused",
        frozen=False, role="owner", who="ada", why="rain", changed_at=at(1),
    )  # fmt: skip
