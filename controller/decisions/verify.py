"""Verification: recompute every arm from the published definition, and list each difference from the log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from controller.decisions.control_spans import Orders
from controller.definition.experiment import COMMITMENT, Experiment, design_hash, with_seed
from controller.definition.field_types import Message, market_of
from controller.definition.parameters import Triggered
from controller.designs import design_of
from controller.designs.design import Block
from controller.messages.control import Entered, Kill, SeedRevealed, SetAside
from controller.messages.events import Assignment, Registered, Undelivered, Withheld
from controller.randomisation.hash_scores import coin
from controller.time.periods import day_start, period

Kind = Literal["hash", "seed", "altered", "missing", "doubled", "unplanned", "late", "entry"]
#: clocks of two workers may differ by so much: a decision just after an order may not have known of it, one just before
#: it may
SKEW = timedelta(minutes=1)
#: the block of a release
RELEASE_BLOCK = -1
#: reasons of control that may take the place of what was decided for the same instant
REPLACES = ("late", "released")
#: reasons with which a unit may hold another arm than the draw's, or be put on control
KEPT_BY_RULE = frozenset({"blackout", "limit", "exclusivity", "killed", "paused", "dropped", "late"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in the log that the published definition does not lead to."""

    kind: Kind
    #: the unit, or the cluster of an entry; empty where the whole experiment is meant
    subject: str
    day: date | None
    detail: str
    #: the very same record twice: a relay that crashed repeats itself, and readers lose nothing by it
    harmless: bool = False

    def __str__(self) -> str:
        place = " ".join(str(part) for part in (self.subject, self.day) if part)
        return f"{self.kind}: {place}: {self.detail}" if place else f"{self.kind}: {self.detail}"


def verify(
    registered: Registered, records: Iterable[Message], *, through: date | None = None
) -> tuple[Difference, ...]:
    """Every difference between the log of an experiment and what its published definition leads to.

    ``records``: the assignment log, in its order; what belongs to other experiments or versions is passed over.
    ``through``: the last local day that must be there; without it, each market's last day that is.
    """
    log = [record for record in records if _concerns(record, registered.experiment)]
    if design_hash(registered.experiment) != registered.design_hash:
        found = design_hash(registered.experiment)
        return (Difference("hash", "", None, f"published {registered.design_hash}, the definition gives {found}"),)
    experiment, problem = _revealed(registered.experiment, log)
    if problem is not None:
        return (problem,)
    return tuple(_differences(experiment, log, through))


def _concerns(record: Message, experiment: Experiment) -> bool:
    """Whether a record is of this version of the experiment, or a kill switch, which may hold any."""
    if isinstance(record, Kill):
        return True
    if isinstance(record, SetAside):
        return record.experiment in ("", experiment.name)
    return (
        getattr(record, "experiment", None) == experiment.name
        and getattr(record, "experiment_version", None) == experiment.version
    )


def _revealed(experiment: Experiment, log: Sequence[Message]) -> tuple[Experiment, Difference | None]:
    """The experiment with its seed, from the definition or from the record that revealed it."""
    if not COMMITMENT.match(experiment.seed):
        return experiment, None
    seeds = [record.seed for record in log if isinstance(record, SeedRevealed)]
    if not seeds:
        return experiment, Difference(
            "seed", "", None, "only committed to so far: arms can be recomputed once it is revealed, after the end"
        )
    try:
        return with_seed(experiment, seeds[-1]), None
    except ValueError as error:
        return experiment, Difference("seed", "", None, str(error))


def _differences(experiment: Experiment, log: Sequence[Message], through: date | None) -> Iterable[Difference]:
    assignments: dict[tuple[str, date], list[Assignment]] = {}
    for record in log:
        if isinstance(record, Assignment):
            assignments.setdefault((record.unit, record.day), []).append(record)
    entered = [record for record in log if isinstance(record, Entered)]
    found = [*_entries(experiment, entered)]
    orders = Orders(experiment, log)
    expected = _Expected(experiment, entered, orders)
    delayed = isinstance(experiment.design, Triggered) and experiment.design.delay_minutes is not None
    within_a_day = expected.entered if delayed else {}
    for (unit, day), same in assignments.items():
        found += _doubled(unit, day, same, within_a_day.get(expected.clusters.get(unit, ""), ()))
        for record in {r.model_dump_json(exclude={"epoch", "sequence"}): r for r in same}.values():
            found += expected.compare(record)
    found += _missing(experiment, assignments, orders, log, through)
    return sorted(found, key=lambda d: (d.day or date.min, d.subject, d.kind))


def _doubled(unit: str, day: date, same: Sequence[Assignment], entered: Sequence[Entered]) -> Iterable[Difference]:
    """Several records of one day are one at its boundary, and urgent ones later on: each instant has one.

    But for the day after an entry within a day: had it been given out before, it is given out again.
    """
    by_instant: dict[datetime, list[Assignment]] = {}
    for record in same:
        by_instant.setdefault(record.effective_at, []).append(record)
    for records in (group for found in by_instant.values() for group in _replaced(found)):
        first, last = (choose(r.decided_at for r in records) for choose in (min, max))
        again = any(first <= e.decided_at + SKEW and e.decided_at - SKEW <= last for e in entered)
        if len(records) > 1 and not (again and len(records) == 2 and first < last):
            identical = all(record == records[0] for record in records)
            what = "the very same record" if identical else "another decision for the same instant"
            yield Difference("doubled", unit, day, f"{len(records)} records: {what}", harmless=identical)


def _replaced(records: Sequence[Assignment]) -> Iterable[Sequence[Assignment]]:
    """The decision of an instant, and newer ones that have put control in its place: it was late, or over just then."""
    decided = [record for record in records if record.reason.code not in REPLACES]
    newest = max(((r.epoch, r.sequence) for r in decided), default=None)
    replacing = [[record for record in records if record.reason.code == code] for code in REPLACES]
    if newest is not None and any((r.epoch, r.sequence) <= newest for group in replacing for r in group):
        return [records]
    return [group for group in (decided, *replacing) if group]


class _Expected:
    """What the definition leads to; each block is drawn once."""

    def __init__(self, experiment: Experiment, entered: Sequence[Entered], orders: Orders) -> None:
        self.experiment = experiment
        self.orders = orders
        #: the latest first: of two entries of a cluster that one would decide by
        self.entered: dict[str, list[Entered]] = {}
        for entry in sorted(entered, key=lambda e: e.ordinal, reverse=True):
            self.entered.setdefault(entry.cluster, []).append(entry)
        self.design = design_of(experiment)
        self.clusters = experiment.cluster_by_unit()
        self.zones = experiment.time_zones()
        self.hash = design_hash(experiment)
        self.names = [arm.name for arm in experiment.arms]
        self.drawn: dict[int, Mapping[str, int]] = {}
        self.units = set(experiment.units)

    def planned(self, block: Block, record: Assignment) -> tuple[str, ...]:
        """The arms that a record may have planned: one, unless an entry was decided at the very same time."""
        cluster = self.clusters[record.unit]
        if isinstance(self.experiment.design, Triggered):
            return self._entered(self.experiment.design, cluster, record)
        if block.index not in self.drawn:
            self.drawn[block.index] = self.design.arms(self.experiment, block)
        return (self.names[self.drawn[block.index][cluster]],)

    def _entered(self, design: Triggered, cluster: str, record: Assignment) -> tuple[str, ...]:
        """An entry at a boundary is decided before its day is given out; one within a day, maybe after the next is."""
        control = self.names[0]
        for entry in self.entered.get(cluster, ()):
            if entry.starts_at <= record.effective_at and record.day < entry.end_day:
                ahead = entry.decided_at - record.decided_at
                if design.delay_minutes is not None and abs(ahead) <= SKEW:
                    return (control, entry.arm)
                return (control,) if design.delay_minutes is not None and ahead > SKEW else (entry.arm,)
        return (control,)

    def compare(self, record: Assignment) -> Iterable[Difference]:
        """What is wrong with one record."""
        unit, day, control = record.unit, record.day, self.names[0]
        released = record.reason.code == "released"
        over = day >= self.experiment.end
        # The worker that takes an order and the one that carries it out have clocks of their own.
        ordered = over or self.orders.within(market_of(unit), record.decided_at, record.decided_at + SKEW)
        early = day < self.experiment.start and not (released and ordered)
        if unit not in self.units or early:
            yield Difference("unplanned", unit, day, "no such unit or day in the definition")
            return
        if over and record.arm != control and record.reason.code != "blackout":
            yield Difference("unplanned", unit, day, f"{record.arm} after the end")
            return
        wrong: list[str] = []
        if record.design_hash != self.hash:
            wrong.append(f"design hash {record.design_hash}")
        if record.cluster != self.clusters[unit]:
            wrong.append(f"cluster {record.cluster}, the definition says {self.clusters[unit]}")
        if released and not ordered:
            wrong.append("released to control, which nobody had asked for")
        block = self.design.block_on(self.experiment, day)
        # A release that a blackout forbids keeps the old arm: it carries no block of the design's either.
        if block is None or released or (ordered and record.block == RELEASE_BLOCK):
            planned: tuple[str, ...] = (control,)
        else:
            planned = self.planned(block, record)
            if record.block != block.index:
                wrong.append(f"block {record.block}, the design says {block.index}")
            if self.orders.throughout(market_of(unit), record.decided_at - SKEW, record.decided_at):
                wrong.append("drawn although control had been asked for")
        if record.planned_arm not in planned:
            wrong.append(f"planned {record.planned_arm}, the draw gives {' or '.join(planned)}")
        if record.arm != record.planned_arm and record.reason.code not in KEPT_BY_RULE:
            wrong.append(f"arm {record.arm} against planned {record.planned_arm} for no rule ({record.reason.code})")
        if wrong:
            yield Difference("altered", unit, day, "; ".join(wrong))
        if record.decided_at > record.effective_at:
            yield Difference("late", unit, day, f"effective {record.effective_at}, decided {record.decided_at}")


def _entries(experiment: Experiment, entered: Sequence[Entered]) -> Iterable[Difference]:
    names = [arm.name for arm in experiment.arms]
    for record in {record.id: record for record in entered}.values():
        planned = names[coin(experiment.seed, experiment.name, record.cluster, record.ordinal, experiment.shares())]
        if record.arm != planned:
            detail = f"entered with {record.arm}, its coin {record.ordinal} gives {planned}"
            yield Difference("entry", record.cluster, record.first_day, detail)


def _missing(
    experiment: Experiment,
    assignments: Mapping[tuple[str, date], Sequence[Assignment]],
    orders: Orders,
    log: Sequence[Message],
    through: date | None,
) -> Iterable[Difference]:
    """Units without a record on a day that was decided, and that no record excuses."""
    excused: set[tuple[str, date]] = set()
    for record in log:
        if isinstance(record, Undelivered):
            days = (record.last_day - record.first_day).days + 1
            excused |= {(record.market, record.first_day + timedelta(days=k)) for k in range(days)}
        elif isinstance(record, Withheld):
            excused |= {(unit, record.day) for unit in record.units}
    for market, units in experiment.units_by_market().items():
        seen = [day for unit, day in assignments if market_of(unit) == market]
        zone = experiment.time_zones()[market]
        if not seen and through is None:
            if not orders.at(market, day_start(experiment.start, zone) - experiment.lead):
                yield Difference("missing", market, None, "no record of this market at all")
            continue
        last = min(through if through is not None else max(seen), experiment.end - timedelta(days=1))
        for k in range((last - experiment.start).days + 1):
            day = experiment.start + timedelta(days=k)
            boundary = day_start(day, zone)
            held = orders.within(market, boundary - experiment.lead, boundary)
            if (market, day) in excused or held or not period(day, zone).exists:
                continue
            for unit in units:
                if (unit, day) not in assignments and (unit, day) not in excused:
                    yield Difference("missing", unit, day, "no record, and none that says why")
