"""The store in this process's memory: the second adapter, for tests, replays and the simulator.

No method awaits anything, so each is atomic under asyncio. What one process decides here is lost with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from controller.decisions.decide import Flip, Proposal
from controller.definition.field_types import milliseconds
from controller.messages.control import Kill
from controller.messages.inputs import Blackout
from controller.schedule.blackout import binding
from controller.schedule.due import MarketPlan
from controller.validation.price_rules import PriceChange
from streams.runtime.clock import WallClock
from streams.store import (
    NOTHING,
    Fenced,
    Granted,
    LogRecord,
    NoteChanges,
    NoteKind,
    OutboxEntry,
    Outcome,
    PastPrices,
    Registration,
    TopicPlace,
    encoding,
)
from streams.store.memory.restore import MemoryRestore
from streams.store.memory.state import Held, MemoryShard, MemoryState
from streams.store.memory.triggers import MemoryTriggers

#: as in `blackout.lua`
MOST_PLACES = 1000


class MemoryStore(MemoryState):
    """See `streams.store.Store`."""

    def __init__(self, shards: int) -> None:
        super().__init__(shards)
        #: where the last word on a switch, and on a window, was said
        self._kill_places: dict[str, TopicPlace] = {}
        self._window_places: dict[str, TopicPlace] = {}
        self._blackouts: dict[str, Blackout] = {}
        self.triggers = MemoryTriggers(self.shards, self.positions, self.histories)

    @property
    def restoring(self) -> MemoryRestore:
        """See `streams.store.restore_port`."""
        return MemoryRestore(self)

    async def ping(self) -> None:
        """Memory always answers."""

    # --- shards -----------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, epoch: int) -> int:
        held = self.shards[shard]
        if held.epoch > epoch:
            said = f"shard {shard} belongs to the owner with epoch {held.epoch}, not to the one with {epoch}"
            raise Fenced(said, newer=True)
        held.epoch = epoch
        return held.tick

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        return dict(self.shards[shard].plans)

    async def flip(self, shard: int, epoch: int, flip: Flip, remember: timedelta = NOTHING) -> Outcome:
        outcome = Outcome()
        for batch in encoding.batches(flip.proposals):
            outcome += self._flip(self.shards[shard], epoch, flip, batch, remember)
        return outcome

    async def flip_all(
        self, shard: int, epoch: int, flips: Sequence[Flip], remember: timedelta = NOTHING
    ) -> list[Outcome]:
        return [await self.flip(shard, epoch, flip, remember) for flip in flips]

    def _flip(
        self, shard: MemoryShard, epoch: int, flip: Flip, batch: Sequence[Proposal], remember: timedelta
    ) -> Outcome:
        shard.own(epoch)
        registered = self.registered.get(flip.experiment)
        if registered is None or registered.design_hash != flip.design_hash:
            return Outcome(withheld=tuple(proposal.unit for proposal in batch))
        outcome, granted = Outcome(), []
        for proposal in batch:
            windows = () if flip.urgent and flip.is_release else self._blackouts.values()
            window = binding(windows, proposal.unit, proposal.cluster, flip.effective_at)
            before = shard.units.get(proposal.unit)
            said, held, row = _decided(before, flip, proposal, window)
            outcome += said
            if held is not None and row is not None:
                shard.sequence += 1
                base = proposal.prices_minor[0]
                if remember and held.price_minor is not None and base is not None:
                    known = shard.prices.get(proposal.unit, ())
                    shard.prices[proposal.unit] = _recalled(known, before, held, base, remember)
                shard.units[proposal.unit] = held
                shard.orders[proposal.unit] = (epoch, shard.sequence)
                granted.append(row._replace(sequence=shard.sequence))
        if granted:
            header = encoding.flip_header(flip)
            shard.outbox.append(OutboxEntry(shard.next_id(), epoch, header=header, granted=tuple(granted)))
        return outcome

    async def past_prices(self, shard: int, units: Sequence[str]) -> dict[str, PastPrices]:
        held = self.shards[shard]
        return {
            unit: PastPrices(held.prices[unit], None if held.units[unit].on_control else held.units[unit].expires_at)
            for unit in units
            if unit in held.prices
        }

    async def settle(
        self, shard: int, epoch: int, plans: Mapping[str, MarketPlan], records: Sequence[LogRecord], tick: int
    ) -> None:
        held = self.shards[shard]
        held.own(epoch)
        if held.tick >= tick:
            return
        held.plans.update(plans)
        if records:
            held.outbox.append(OutboxEntry(held.next_id(), epoch, records=tuple(records)))
        held.tick = tick

    async def tell(self, shard: int, epoch: int, records: Sequence[LogRecord]) -> None:
        held = self.shards[shard]
        held.own(epoch)
        if records:
            held.outbox.append(OutboxEntry(held.next_id(), epoch, records=tuple(records)))

    async def outbox(self, shard: int, limit: int) -> list[OutboxEntry]:
        return self.shards[shard].outbox[:limit]

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        gone = set(ids)
        self.shards[shard].outbox = [entry for entry in self.shards[shard].outbox if entry.id not in gone]

    async def put_back(self, shard: int, epoch: int, id: str, units: Sequence[str], detail: str) -> None:
        held = self.shards[shard]
        held.own(epoch)
        entry = next((entry for entry in held.outbox if entry.id == id), None)
        if entry is None:
            return
        control, late, rest = encoding.arms(entry.header)[0], [], []
        for row in entry.granted:
            if row.unit not in units:
                rest.append(row)
                continue
            back = row._replace(arm=control, price_minor=None, code="late", detail=detail)
            # Nothing of what was decided later changes, nor may this be newer than that.
            if held.orders[row.unit] != (entry.epoch, row.sequence):
                rest.append(back)
                continue
            held.sequence += 1
            held.orders[row.unit] = (epoch, held.sequence)
            held.units[row.unit] = replace(held.units[row.unit], arm=control, on_control=True, price_minor=None)
            late.append(back._replace(sequence=held.sequence))
        if rest:
            held.outbox.append(replace(entry, id=held.next_id(), granted=tuple(rest), again=True))
        if late:
            held.outbox.append(replace(entry, id=held.next_id(), epoch=epoch, granted=tuple(late), again=False))
        await self.published(shard, [id])

    # --- definitions and blackouts ------------------------------------------------------------------------------------

    async def registrations(self, shard: int) -> tuple[int, dict[str, Registration]]:
        return self.version, dict(self.registered)

    async def registrations_version(self, shard: int) -> int:
        return self.version

    async def put_kill(self, kill: Kill, place: TopicPlace | None = None) -> bool:
        if _later_is_known(self._kill_places, kill.id, place):
            return False
        if self.kills_pulled.get(kill.id) != kill:
            self.kills_pulled[kill.id] = kill
            self.version += 1
        return True

    async def kills(self, shard: int) -> dict[str, Kill]:
        return dict(self.kills_pulled)

    async def put_blackout(self, blackout: Blackout, place: TopicPlace | None = None) -> bool:
        if _later_is_known(self._window_places, blackout.id, place):
            return False
        self._blackouts[blackout.id] = blackout
        return True

    async def remove_blackout(self, blackout_id: str, place: TopicPlace | None = None) -> bool:
        if _later_is_known(self._window_places, blackout_id, place):
            return False
        self._blackouts.pop(blackout_id, None)
        # Of removed windows, only some are remembered: enough for a stale owner that resumes.
        if len(self._window_places) > MOST_PLACES:
            first = next((id for id in self._window_places if id not in self._blackouts), blackout_id)
            del self._window_places[first]
        return True

    async def blackouts(self, shard: int) -> dict[str, Blackout]:
        return dict(self._blackouts)

    async def time(self) -> datetime:
        return WallClock().now()

    # --- closings -----------------------------------------------------------------------------------------------------

    async def closed_through(self, shard: int) -> dict[str, tuple[int, int]]:
        return dict(self.shards[shard].closed)

    async def closed_days(self) -> dict[str, int]:
        return {market: day for shard in self.shards for market, (day, _) in shard.closed.items()}

    async def set_closed(self, shard: int, epoch: int, markets: Mapping[str, tuple[int, int]]) -> None:
        held = self.shards[shard]
        held.own(epoch)
        held.closed.update(markets)

    async def notes(self, shard: int, kind: NoteKind, market: str) -> dict[str, str]:
        return dict(self.shards[shard].notes.get((kind, market), {}))

    async def note(self, shard: int, epoch: int, market: str, changes: NoteChanges) -> None:
        held = self.shards[shard]
        held.own(epoch)
        for kind, fields in changes.items():
            there = held.notes.setdefault((kind, market), {})
            there.update({field: text for field, text in fields.items() if text is not None})
            for field in [field for field, text in fields.items() if text is None]:
                there.pop(field, None)

    async def close(self) -> None:
        """Nothing to let go."""


def _decided(
    prev: Held | None, flip: Flip, proposal: Proposal, window: Blackout | None
) -> tuple[Outcome, Held | None, Granted | None]:
    """What one proposal comes to: repetition, exclusivity, blackout, in this order. None where nothing is written."""
    owner, control = f"{flip.experiment}.{flip.experiment_version}", flip.arms[0]
    release, asked, instant = flip.is_release, flip.arms[proposal.arm], flip.effective_at
    same = prev is not None and prev.owner == owner
    if _done(prev, flip, same):
        return Outcome(repeated=1, kept=int(prev is not None and prev.arm != asked)), None, None
    if prev is not None and not same:
        frozen = window is not None and prev.lasts_to(instant) and not prev.on_control
        if release or prev.binds_after(instant) or frozen:
            silent = release and not (flip.urgent and prev.effective_at > instant)
            return Outcome(withheld=() if silent else (proposal.unit,)), None, None
    # The arm that holds up to the flip's instant: a lease that ended earlier left the unit on control.
    standing = prev if prev is not None and same and prev.lasts_to(instant) else None
    standing_arm = control if standing is None else standing.arm
    arm, expires_at, price = asked, flip.expires_at, proposal.prices_minor[proposal.arm]
    code: str = "released" if release else "scheduled"
    detail = proposal.detail
    if proposal.planned_arm is not None:
        code = proposal.code
    if window is not None:
        arm, code, detail = standing_arm, "blackout", window.id
        price = proposal.prices_minor[0] if standing is None else standing.price_minor
        if arm != asked or not release:
            expires_at = flip.keep_until
    kept = arm != asked
    flipped = arm != standing_arm
    # What was decided for a later day stays decided, though an urgent flip has replaced it.
    day = max(prev.day, flip.day) if prev is not None and same else flip.day
    return (
        Outcome(flips=int(flipped), blocked=int(kept), kept=int(kept)),
        Held(owner, day, arm, arm == control, instant, expires_at, price),
        Granted(
            unit=proposal.unit,
            cluster=proposal.cluster,
            arm=arm,
            planned_arm=flip.arms[encoding.planned_arm(proposal)],
            price_minor=price,
            expires_ms=None if expires_at is None else milliseconds(expires_at),
            code=code,
            detail=detail,
            sequence=0,
        ),
    )


def _done(prev: Held | None, flip: Flip, same: bool) -> bool:
    """Whether a proposal is a repetition."""
    if not flip.urgent:
        return prev is not None and same and prev.day >= flip.day
    if not flip.is_release:
        return prev is not None and same and prev.effective_at >= flip.effective_at
    # Nobody was promised anything but control, from now or from earlier on.
    return prev is None or (
        same and prev.on_control and prev.expires_at is None and prev.effective_at <= flip.effective_at
    )


def _recalled(
    known: Sequence[PriceChange], prev: Held | None, held: Held, base: int, remember: timedelta
) -> tuple[PriceChange, ...]:
    """The changes of a unit's price with a new grant; ``base`` is control's price.

    What the grant replaces is gone, a lease that ran out before it was a change back to control, and of what is too
    long ago only the price in force is kept.
    """
    instant = held.effective_at
    found = [change for change in known if change.at < instant]
    last = found[-1].price_minor if found else base
    lapsed_at = None if prev is None or prev.on_control else prev.expires_at
    if lapsed_at is not None and lapsed_at < instant and last != base:
        found.append(PriceChange(lapsed_at, base))
        last = base
    if held.price_minor is not None and held.price_minor != last:
        found.append(PriceChange(instant, held.price_minor))
    first = sum(change.at <= instant - remember for change in found[1:])
    return tuple(found[first:])


def _later_is_known(places: dict[str, TopicPlace], id: str, place: TopicPlace | None) -> bool:
    if place is None:
        return False
    known = places.get(id)
    if known is not None and known.partition == place.partition and known.offset > place.offset:
        return True
    places[id] = place
    return False


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store import Store

    _PORT: type[Store] = MemoryStore
