"""What the log says of shards: state = fold(log), record by record, in any number of turns.

What is said of a unit lies in one partition, in the order in which it was decided; any of it may be there again
later, and partitions are read side by side. Of a unit's grants the one with the greatest (epoch, sequence) holds, of a
market's days the last one decided, of an experiment the latest version with all changes of its life.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import NamedTuple, Protocol

from controller.definition.error_messages import shown
from controller.definition.experiment import COMMITMENT, with_seed
from controller.definition.field_types import event_id, market_of, milliseconds
from controller.errors import UnreadableMessage
from controller.messages.checkpoints import Checkpoint
from controller.messages.codec import ANNOUNCE_BY, GivenHeaders, Stamped, message_of, read, void
from controller.messages.codec import told as named
from controller.messages.control import CONTROL_TYPES, Entered, Kill, LifecycleChanged, TriggerIgnored
from controller.messages.events import (
    CE_TYPES,
    Assignment,
    BlackoutSet,
    PeriodClosed,
    Registered,
    UnitDay,
    UnsoldUnits,
    Withheld,
)
from controller.schedule.due import MarketPlan
from streams.closing.unsold_restore import PanelDays
from streams.kafka.dead_letters import Incoming
from streams.store import Registration, plan_key
from streams.store.restore_port import HeldUnit, newest

ASSIGNMENT_TYPE = CE_TYPES[Assignment].encode()
UNSOLD_TYPE = CE_TYPES[UnsoldUnits].encode()
#: in the JSON of an assignment, which is ours; inside a text its quotes would be escaped
ORDER = re.compile(rb'"epoch":(\d{1,16}),"sequence":(\d{1,16})[,}]')


class Logged(Incoming, Stamped, Protocol):
    """A record of the log, with the broker's stamp."""

    @property
    def headers(self) -> GivenHeaders: ...


def order_of(value: bytes) -> tuple[int, int] | None:
    """Epoch and sequence of an assignment as it lies on a topic, without reading the rest of it."""
    found = ORDER.match(value, value.rfind(b'"epoch":'))
    return None if found is None else (int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Planned:
    """What was decided of a market for one version of an experiment."""

    #: ordinal of the last day that a schedule decided; -1 for none
    day: int = -1
    #: greatest instant of a decision, as text of the log
    decided_at: datetime | None = None


class Grant(NamedTuple):
    """An assignment as it was read: a hundred come for each one that holds in the end."""

    order: tuple[int, int]
    #: experiment.version
    owner: str
    #: ordinal of the last local day that was decided for the unit
    day: int
    value: bytes
    #: when the brokers had it, in milliseconds
    stamp: int
    #: in what was read, the unit has gone from one experiment to another
    changed_hands: bool = False


@dataclass(slots=True)
class Remembered:
    """What was read so far. Which units are on control is known once their experiments' definitions are."""

    #: by unit
    grants: dict[bytes, Grant] = field(default_factory=dict)
    #: id of a day's decision, without its unit -> owner and day
    days: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    #: (the same, market, instant of the decision): what plans were told of
    decided: set[tuple[bytes, bytes, bytes]] = field(default_factory=set)
    #: (experiment, version, market)
    planned: dict[tuple[str, int, str], Planned] = field(default_factory=dict)
    #: by name
    registrations: dict[str, Registration] = field(default_factory=dict)
    #: experiment.version -> name of its control arm
    controls: dict[str, str] = field(default_factory=dict)
    kills: dict[str, Kill] = field(default_factory=dict)
    #: what became of triggers, by trigger
    answers: dict[str, Entered | TriggerIgnored] = field(default_factory=dict)
    #: market -> (last closed day, greatest revision of a closing)
    closed: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: (unit, day) -> its last row
    rows: dict[tuple[str, date], UnitDay] = field(default_factory=dict)
    #: units with a row on their market's last closed day (ordinal), as far as that was read elsewhere
    sold: set[tuple[str, int]] = field(default_factory=set)
    #: closed days, beside their rows
    closed_days: PanelDays = field(default_factory=PanelDays)
    #: what checkpoints held: units by name, (experiment, version, market) -> (day, released), shards
    summed: dict[str, HeldUnit] = field(default_factory=dict)
    reached: dict[tuple[str, int, str], tuple[int, bool]] = field(default_factory=dict)
    shards: dict[int, Checkpoint] = field(default_factory=dict)
    #: whether blackouts were set or removed
    blackouts: bool = False
    #: how much of the log was read, and how much of what was published besides
    records: int = 0
    published: int = 0
    #: records that say that they are ours and are no message
    unreadable: int = 0

    def given(self, registrations: Iterable[Registration]) -> None:
        """What is known already: a life that goes on in the log begins here."""
        for found in registrations:
            self.registrations.setdefault(found.experiment.name, found)
            self._control(found.experiment.name, found.experiment.version, found.experiment.arms[0].name)

    def begin(self, checkpoint: Checkpoint) -> None:
        """What a checkpoint holds: the log that is read goes on from there, or from before."""
        self.shards[checkpoint.shard] = checkpoint
        self.summed |= {unit: HeldUnit(unit, *row) for unit, row in checkpoint.units.items()}
        for key, (day, released) in checkpoint.plans.items():
            owner, _, market = key.rpartition("/")
            name, _, version = owner.rpartition(".")
            place = name, int(version), market
            self.reached[place] = day, released
            self._plan(place, day, None)
        for market, (day, times) in checkpoint.closed.items():
            self.close(market, day, times)
        for kill in checkpoint.kills:
            self._switched(kill)

    def take(self, record: Logged) -> None:
        """Fold one record of the log or of the panel; what is neither of ours nor readable is passed over."""
        self.records += 1
        told = named(record.headers)
        kind = told.get("ce_type", b"")
        if kind == ASSIGNMENT_TYPE:
            # Void: nobody shows it, and a day of which nothing else is said is to be reported.
            if ANNOUNCE_BY in told and void(record):
                return
            try:
                self._assigned(record.key or b"", record.value or b"", told, record.timestamp)
            except UnreadableMessage:  # nobody of ours wrote it
                self.unreadable += 1
            return
        if kind == UNSOLD_TYPE:
            self.unreadable += not self.closed_days.take_unsold(record.key or b"", record.value or b"")
            return
        model = MODELS.get(kind)
        if model is None:
            return
        message = message_of(record, model)
        if isinstance(message, UnreadableMessage):
            self.unreadable += 1
            return
        if isinstance(message, Registered):
            self._registered(message)
        elif isinstance(message, LifecycleChanged):
            self._changed(message)
        elif isinstance(message, Kill):
            self._switched(message)
        elif isinstance(message, Entered | TriggerIgnored):
            self.answers[message.trigger] = message
        elif isinstance(message, Withheld):
            place = (message.experiment, message.experiment_version, message.market)
            self._plan(place, message.day.toordinal(), message.decided_at)
        elif isinstance(message, UnitDay):
            held_row = self.rows.get((message.unit, message.day))
            if held_row is None or held_row.revision <= message.revision:
                self.rows[message.unit, message.day] = message
        elif isinstance(message, PeriodClosed):
            self.close(message.market, message.day.toordinal(), message.revision)
            self.closed_days.take_closing(message)
        else:
            self.blackouts = True

    def _switched(self, kill: Kill) -> None:
        held = self.kills.get(kill.id)
        if held is None or held.requested_at <= kill.requested_at:
            self.kills[kill.id] = kill

    def close(self, market: str, day: int, revision: int) -> None:
        """A day (ordinal) of a market was closed."""
        last, times = self.closed.get(market, (0, 0))
        self.closed[market] = max(last, day), max(times, revision)

    def _assigned(self, unit: bytes, value: bytes, told: Mapping[str, bytes], stamp: int) -> None:
        """Each of these was checked before it was written, and says in its headers what it decides and when."""
        decision, market = told.get("ce_id", b"").removesuffix(unit), unit.partition(b"/")[0]
        order, known = order_of(value), self.days.get(decision)
        if known is None or order is None or (decision, market, told.get("ce_time")) not in self.decided:
            grant = self._decided(unit, value, told, stamp)
        else:
            grant = Grant(order, *known, value, stamp)
        old = self.grants.get(unit)
        self.grants[unit] = grant if old is None else _after(old, grant)

    def _decided(self, unit: bytes, value: bytes, told: Mapping[str, bytes], stamp: int) -> Grant:
        """Read an assignment whole, and tell the plan of its market; raises UnreadableMessage."""
        said = read(Assignment, value)
        if said.unit.encode() != unit:
            raise UnreadableMessage(f"the key {shown(unit)} is not the unit {said.unit}")
        day, version = said.day, said.experiment_version
        owner, market = f"{said.experiment}.{version}", market_of(said.unit)
        # What is urgent comes on top of a day's decision, and bears its instant in its id; what was late is the day's.
        name = f"{owner}/{day}/{unit.decode()}"
        scheduled = said.id in (event_id(name), event_id(f"{name}/late"))
        place = (said.experiment, version, market)
        self._plan(place, day.toordinal() if scheduled else -1, said.decided_at)
        decision = f"{owner}/{day}/".encode()
        if told.get("ce_id") == decision + unit and "ce_time" in told:
            self.days[decision] = owner, day.toordinal()
            self.decided.add((decision, market.encode(), told["ce_time"]))
        return Grant((said.epoch, said.sequence), owner, day.toordinal(), value, stamp)

    def _held(self, unit: str, grant: Grant) -> HeldUnit:
        said = read(Assignment, grant.value)
        expires, price = said.expires_at, said.price_minor
        epoch, sequence = grant.order
        return HeldUnit(
            unit=unit,
            owner=grant.owner,
            day=grant.day,
            arm=said.arm,
            on_control=self.on_control(grant.owner, said.arm, for_good=expires is None),
            effective_ms=milliseconds(said.effective_at),
            expires_ms=0 if expires is None else milliseconds(expires),
            price_minor=price,
            sequence=sequence,
            epoch=epoch,
            changed_hands=grant.changed_hands,
        )

    def on_control(self, owner: str, arm: str, *, for_good: bool) -> bool:
        """Whether an arm is control; without its experiment's definition, whatever is for good is."""
        return arm == self.controls[owner] if owner in self.controls else for_good

    def _plan(self, place: tuple[str, int, str], day: int, decided_at: datetime | None) -> None:
        old = self.planned.get(place, Planned())
        latest = max((at for at in (old.decided_at, decided_at) if at is not None), default=None)
        self.planned[place] = Planned(max(old.day, day), latest)

    def _registered(self, message: Registered) -> None:
        found, name = message.experiment, message.experiment.name
        self._control(name, found.version, found.arms[0].name)
        held = self.registrations.get(name)
        if held is None or held.experiment.version < found.version:
            listed = dict(message.listed)
            self.registrations[name] = Registration(found, message.design_hash, listed=listed)

    def _control(self, name: str, version: int, arm: str) -> None:
        self.controls[f"{name}.{version}"] = arm

    def _changed(self, change: LifecycleChanged) -> None:
        held = self.registrations.get(change.experiment)
        if held is None or held.experiment.version != change.experiment_version:
            return
        if all(known.id != change.id for known in held.history):
            self.registrations[change.experiment] = replace(
                held, state=change.to_state, frozen=change.frozen, history=(*held.history, change)
            )

    def reveal(self, seeds: Mapping[str, str]) -> list[str]:
        """Put committed seeds back, by experiment; returned are those whose seed is not among them.

        The log tells only the hash of such a seed. Without the seed every arm would be another one, so an experiment
        that has lost it is not remembered at all.
        """
        lost = []
        for name, held in list(self.registrations.items()):
            if not COMMITMENT.match(held.experiment.seed):
                continue
            try:
                self.registrations[name] = replace(held, experiment=with_seed(held.experiment, seeds.get(name, "")))
            except ValueError:
                del self.registrations[name]
                lost.append(name)
        return lost

    # --- of one shard -------------------------------------------------------------------------------------------------

    def held_units(self, mine: frozenset[str]) -> list[HeldUnit]:
        """The units of some markets."""
        found = {name: held for name, held in self.summed.items() if market_of(name) in mine}
        for unit, grant in self.grants.items():
            name = unit.decode(errors="replace")
            if market_of(name) in mine:
                try:
                    found[name] = newest(self._held(name, grant), found.get(name))
                except UnreadableMessage:  # taken at its headers' word
                    self.unreadable += 1
        return list(found.values())

    def plans(self, mine: frozenset[str], held_units: Sequence[HeldUnit] | None = None) -> dict[str, MarketPlan]:
        """How far some markets have got; one is released where each of its units is on control for good.

        Where that cannot be told it is not released: letting go twice does no harm.

        ``held_units``: theirs, where they are known already.
        """
        held: dict[tuple[str, str], list[HeldUnit]] = {}
        for unit in self.held_units(mine) if held_units is None else held_units:
            held.setdefault((unit.owner, market_of(unit.unit)), []).append(unit)
        found = {}
        for (name, version, market), planned in self.planned.items():
            if market in mine:
                units = held.get((f"{name}.{version}", market), [])
                # Of a market whose units another experiment has by now, only the checkpoint tells that they were let
                # go, and only where nothing was planned since.
                day, let_go = self.reached.get((name, version, market), (-1, False))
                released = bool(units) or (let_go and planned.day <= day)
                released = released and all(unit.on_control and not unit.expires_ms for unit in units)
                through = None if planned.day < 0 else date.fromordinal(planned.day)
                found[plan_key(name, version, market)] = MarketPlan(through, released)
        return found

    def decided_at(self, mine: frozenset[str]) -> datetime | None:
        """The last instant at which something was decided for some markets."""
        return max(
            (p.decided_at for (_, _, market), p in self.planned.items() if market in mine and p.decided_at is not None),
            default=None,
        )

    def markets(self) -> set[str]:
        """Every market that something was said of."""
        units = {market_of(name.decode(errors="replace")) for name in self.grants} | {
            market_of(name) for name in self.summed
        }
        return {market for _, _, market in self.planned} | units | set(self.closed)

    def sequence(self, shard: int, units: Iterable[HeldUnit]) -> int:
        """The number of a shard's last decision; ``units``: its own."""
        begun = self.shards.get(shard)
        return max([0 if begun is None else begun.sequence, *(unit.sequence for unit in units)])


def _after(old: Grant, grant: Grant) -> Grant:
    """The grant that holds after another one was read."""
    if grant.order <= old.order:
        return old._replace(stamp=grant.stamp) if grant.order == old.order else old
    if grant.owner != old.owner:
        return grant._replace(changed_hands=True)
    # What was decided for a later day stays decided, though an urgent flip has replaced it.
    return grant._replace(day=max(old.day, grant.day), changed_hands=old.changed_hands)


MODELS = {
    name.encode(): model
    for model, name in (CE_TYPES | CONTROL_TYPES).items()
    if model
    in (Registered, LifecycleChanged, Kill, Withheld, UnitDay, PeriodClosed, BlackoutSet, Entered, TriggerIgnored)
}
