"""The store in this process's memory: the second adapter, for tests, replays and the simulator.

No method awaits anything, so each is atomic under asyncio. What one process decides here is lost with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from controller.blackout import binding
from controller.decide import Flip, Proposal
from controller.events import Blackout
from controller.schedule import MarketPlan
from controller.wire import from_milliseconds, milliseconds
from streams.store import (
    Cell,
    DirtyCell,
    Fenced,
    Granted,
    OutboxEntry,
    Outcome,
    Registration,
    RivalPrice,
    encoding,
)


@dataclass(frozen=True, slots=True)
class _Held:
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


@dataclass(slots=True)
class _Shard:
    epoch: int = -1
    tick: int = 0
    sequence: int = 0
    entries: int = 0
    units: dict[str, _Held] = field(default_factory=dict)
    plans: dict[str, MarketPlan] = field(default_factory=dict)
    outbox: list[OutboxEntry] = field(default_factory=list)
    closed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def own(self, epoch: int) -> None:
        if self.epoch != epoch:
            said = f"the shard belongs to the owner with epoch {self.epoch}, not to the one with {epoch}"
            raise Fenced(said, newer=self.epoch > epoch)

    def next_id(self) -> str:
        self.entries += 1
        return f"{self.entries}-0"


@dataclass(slots=True)
class _Total:
    """A unit-day; ``published`` is its ``events`` when it was last published."""

    quantity: int = 0
    revenue_minor: int = 0
    cost_minor: int = 0
    costed: int = 0
    events: int = 0
    published: int = -1
    revision: int = 0


class MemoryStore:
    """See `streams.store.Store`."""

    def __init__(self, shards: int) -> None:
        self._shards = [_Shard() for _ in range(shards)]
        self._registrations: dict[str, Registration] = {}
        self._version = 0
        self._blackouts: dict[str, Blackout] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._caught_up: dict[int, datetime] = {}
        #: by market, day, unit and sale partition
        self._totals: dict[tuple[str, int, str, int], _Total] = {}
        self._dirty: set[tuple[str, int, str, int]] = set()
        self._rivals: dict[tuple[int, str], dict[str, RivalPrice]] = {}

    async def ping(self) -> None:
        """Memory always answers."""

    # --- shards -----------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, epoch: int) -> int:
        held = self._shards[shard]
        if held.epoch > epoch:
            said = f"shard {shard} belongs to the owner with epoch {held.epoch}, not to the one with {epoch}"
            raise Fenced(said, newer=True)
        held.epoch = epoch
        return held.tick

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        return dict(self._shards[shard].plans)

    async def flip(self, shard: int, epoch: int, flip: Flip) -> Outcome:
        outcome = Outcome()
        for batch in encoding.batches(flip.proposals):
            outcome += self._flip(self._shards[shard], epoch, flip, batch)
        return outcome

    async def flip_all(self, shard: int, epoch: int, flips: Sequence[Flip]) -> list[Outcome]:
        return [await self.flip(shard, epoch, flip) for flip in flips]

    def _flip(self, shard: _Shard, epoch: int, flip: Flip, batch: Sequence[Proposal]) -> Outcome:
        shard.own(epoch)
        registered = self._registrations.get(flip.experiment)
        if registered is None or registered.design_hash != flip.design_hash:
            return Outcome(withheld=tuple(proposal.unit for proposal in batch))
        outcome, granted = Outcome(), []
        for proposal in batch:
            window = binding(self._blackouts.values(), proposal.unit, proposal.cluster, flip.effective_at)
            said, held, row = _decided(shard.units.get(proposal.unit), flip, proposal, window)
            outcome += said
            if held is not None and row is not None:
                shard.sequence += 1
                shard.units[proposal.unit] = held
                granted.append(replace(row, sequence=shard.sequence))
        if granted:
            header = encoding.flip_header(flip)
            shard.outbox.append(OutboxEntry(shard.next_id(), epoch, header=header, granted=tuple(granted)))
        return outcome

    async def settle(
        self, shard: int, epoch: int, plans: Mapping[str, MarketPlan], records: Sequence[tuple[str, str]], tick: int
    ) -> None:
        held = self._shards[shard]
        held.own(epoch)
        if held.tick >= tick:
            return
        held.plans.update(plans)
        if records:
            held.outbox.append(OutboxEntry(held.next_id(), epoch, records=tuple(records)))
        held.tick = tick

    async def outbox(self, shard: int, limit: int) -> list[OutboxEntry]:
        return self._shards[shard].outbox[:limit]

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        gone = set(ids)
        self._shards[shard].outbox = [entry for entry in self._shards[shard].outbox if entry.id not in gone]

    # --- definitions and blackouts ------------------------------------------------------------------------------------

    async def put_registration(self, registration: Registration) -> None:
        name = registration.experiment.name
        if self._registrations.get(name) != registration:
            self._registrations[name] = registration
            self._version += 1

    async def registrations(self, shard: int) -> tuple[int, dict[str, Registration]]:
        return self._version, dict(self._registrations)

    async def registrations_version(self, shard: int) -> int:
        return self._version

    async def put_blackout(self, blackout: Blackout) -> None:
        self._blackouts[blackout.id] = blackout

    async def remove_blackout(self, blackout_id: str) -> None:
        self._blackouts.pop(blackout_id, None)

    async def blackouts(self, shard: int) -> dict[str, Blackout]:
        return dict(self._blackouts)

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def position(self, topic: str, partition: int) -> int:
        return self._positions.get((topic, partition), 0)

    def _advance(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Compare and set: whether records [start, end) are the next ones."""
        if self._positions.get((topic, partition), 0) != start:
            return False
        self._positions[topic, partition] = end
        return True

    async def fold_sales(self, partition: int, start: int, end: int, cells: Sequence[Cell]) -> bool:
        if self._advance("sale", partition, start, end):
            for cell in cells:
                key = (cell.market, cell.day, cell.unit, partition)
                total = self._totals.setdefault(key, _Total())
                total.quantity += cell.quantity
                total.revenue_minor += cell.revenue_minor
                total.cost_minor += cell.cost_minor
                total.costed += cell.costed
                total.events += cell.events
                self._dirty.add(key)
        return await self.position("sale", partition) == end

    async def fold_rival_prices(self, partition: int, start: int, end: int, prices: Sequence[RivalPrice]) -> bool:
        if self._advance("competitor-price", partition, start, end):
            for price in prices:
                known = self._rivals.setdefault((partition, price.unit), {})
                old = known.get(price.competitor)
                if old is None or price.observed_ms >= old.observed_ms:
                    known[price.competitor] = price
        return await self.position("competitor-price", partition) == end

    async def rival_prices(self, partition: int, unit: str) -> dict[str, RivalPrice]:
        return dict(self._rivals.get((partition, unit), {}))

    async def mark_caught_up(self, partition: int, at: datetime) -> None:
        self._caught_up[partition] = from_milliseconds(milliseconds(at))

    async def caught_up(self) -> list[tuple[datetime | None, int]]:
        return [(self._caught_up.get(p), self._positions.get(("sale", p), 0)) for p in range(len(self._shards))]

    async def dirty(self, markets: Mapping[str, int]) -> list[DirtyCell]:
        found = []
        for key in sorted(self._dirty):
            market, day, unit, partition = key
            if market in markets and day <= markets[market]:
                t = self._totals[key]
                found.append(
                    DirtyCell(
                        partition, market, day, unit,
                        t.quantity, t.revenue_minor, t.cost_minor, t.costed, t.events, t.revision,
                    )
                )  # fmt: skip
        return found

    async def cleaned(self, cells: Sequence[DirtyCell]) -> None:
        for cell in cells:
            key = (cell.market, cell.day, cell.unit, cell.partition)
            total = self._totals.get(key)
            if total is None:
                continue
            if total.published < cell.events:
                total.published = cell.events
                total.revision += 1
            if total.events == cell.events:
                self._dirty.discard(key)

    async def day_totals(self, market: str, day: int) -> tuple[int, int]:
        totals = [t for (m, d, _, _), t in self._totals.items() if (m, d) == (market, day)]
        return len(totals), sum(t.events for t in totals)

    # --- closings -----------------------------------------------------------------------------------------------------

    async def closed_through(self, shard: int) -> dict[str, tuple[int, int]]:
        return dict(self._shards[shard].closed)

    async def set_closed(self, shard: int, epoch: int, markets: Mapping[str, tuple[int, int]]) -> None:
        held = self._shards[shard]
        held.own(epoch)
        held.closed.update(markets)

    async def close(self) -> None:
        """Nothing to let go."""


def _decided(
    prev: _Held | None, flip: Flip, proposal: Proposal, window: Blackout | None
) -> tuple[Outcome, _Held | None, Granted | None]:
    """What one proposal comes to: repetition, exclusivity, blackout, in this order. None where nothing is written."""
    owner, control = f"{flip.experiment}.{flip.experiment_version}", flip.arms[0]
    release, planned, instant = flip.expires_at is None, flip.arms[proposal.arm], flip.effective_at
    same = prev is not None and prev.owner == owner
    if prev is not None and same and prev.day >= flip.day:
        return Outcome(repeated=1, kept=int(prev.arm != planned)), None, None
    if prev is not None and not same:
        frozen = window is not None and prev.lasts_to(instant) and not prev.on_control
        if release or prev.binds_after(instant) or frozen:
            return Outcome(withheld=() if release else (proposal.unit,)), None, None
    # The arm that holds up to the flip's instant: a lease that ended earlier left the unit on control.
    standing = prev if prev is not None and same and prev.lasts_to(instant) else None
    standing_arm = control if standing is None else standing.arm
    arm, expires_at, price = planned, flip.expires_at, proposal.prices_minor[proposal.arm]
    code, detail = "released" if release else "scheduled", ""
    if window is not None:
        arm, code, detail = standing_arm, "blackout", window.id
        price = proposal.prices_minor[0] if standing is None else standing.price_minor
        if arm != planned or not release:
            expires_at = flip.keep_until
    kept = arm != planned
    flipped = arm != standing_arm
    return (
        Outcome(flips=int(flipped), blocked=int(kept), kept=int(kept)),
        _Held(owner, flip.day, arm, arm == control, instant, expires_at, price),
        Granted(
            unit=proposal.unit,
            cluster=proposal.cluster,
            arm=arm,
            planned_arm=planned,
            price_minor=price,
            expires_ms=None if expires_at is None else milliseconds(expires_at),
            code=code,
            detail=detail,
            sequence=0,
        ),
    )
