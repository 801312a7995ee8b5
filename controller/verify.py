"""Verification: recompute every arm from the published definition, and list each difference from the log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from controller.assignment import coin
from controller.control import Entered, SeedRevealed
from controller.design import Block
from controller.designs import design_of
from controller.designs.triggered import arms_entered
from controller.enrolment import entry_of
from controller.entries import Entry
from controller.events import Assignment, Registered, Undelivered, Withheld
from controller.experiment import COMMITMENT, Experiment, design_hash, with_seed
from controller.parameters import Triggered
from controller.periods import period
from controller.wire import Message, market_of

Kind = Literal["hash", "seed", "altered", "missing", "doubled", "unplanned", "late", "entry"]
#: reasons with which a unit may hold another arm than the draw's, or be put on control
KEPT_BY_RULE = frozenset({"blackout", "limit", "exclusivity", "killed", "paused", "dropped"})


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
    log = [record for record in records if _belongs(record, registered.experiment)]
    if design_hash(registered.experiment) != registered.design_hash:
        found = design_hash(registered.experiment)
        return (Difference("hash", "", None, f"published {registered.design_hash}, the definition gives {found}"),)
    experiment, problem = _revealed(registered.experiment, log)
    if problem is not None:
        return (problem,)
    return tuple(_differences(experiment, log, through))


def _belongs(record: Message, experiment: Experiment) -> bool:
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
    entries = [entry_of(experiment, record) for record in entered]
    expected = _Expected(experiment, entries)
    for (unit, day), same in assignments.items():
        found += _doubled(unit, day, same)
        for record in {r.model_dump_json(exclude={"epoch", "sequence"}): r for r in same}.values():
            found += expected.compare(record)
    found += _missing(experiment, assignments, log, through)
    return sorted(found, key=lambda d: (d.day or date.min, d.subject, d.kind))


def _doubled(unit: str, day: date, same: Sequence[Assignment]) -> Iterable[Difference]:
    urgent = {r.effective_at for r in same}
    if len(same) == 1 or len(urgent) == len(same):
        return
    identical = all(record == same[0] for record in same)
    what = "the very same record" if identical else "another decision for the same instant"
    yield Difference("doubled", unit, day, f"{len(same)} records: {what}", harmless=identical)


class _Expected:
    """What the definition leads to; each block is drawn once."""

    def __init__(self, experiment: Experiment, entries: Sequence[Entry]) -> None:
        self.experiment = experiment
        self.entries = entries
        self.design = design_of(experiment)
        self.clusters = experiment.cluster_by_unit()
        self.zones = experiment.time_zones()
        self.hash = design_hash(experiment)
        self.names = [arm.name for arm in experiment.arms]
        self.drawn: dict[int, Mapping[str, int]] = {}
        self.units = set(experiment.units)

    def arms(self, block: Block, day: date) -> Mapping[str, int]:
        if isinstance(self.experiment.design, Triggered):
            return arms_entered(self.experiment, self.entries, day)
        if block.index not in self.drawn:
            self.drawn[block.index] = self.design.arms(self.experiment, block)
        return self.drawn[block.index]

    def compare(self, record: Assignment) -> Iterable[Difference]:
        """What is wrong with one record."""
        unit, day = record.unit, record.day
        if unit not in self.units or day < self.experiment.start:
            yield Difference("unplanned", unit, day, "no such unit or day in the definition")
            return
        block = self.design.block_on(self.experiment, day)
        released = record.reason.code == "released"
        wrong: list[str] = []
        if record.design_hash != self.hash:
            wrong.append(f"design hash {record.design_hash}")
        if record.cluster != self.clusters[unit]:
            wrong.append(f"cluster {record.cluster}, the definition says {self.clusters[unit]}")
        if block is None and not released and record.arm != self.names[0]:
            yield Difference("unplanned", unit, day, f"{record.arm} after the end")
            return
        planned = self.names[0]
        if block is not None and not released:
            planned = self.names[self.arms(block, day)[self.clusters[unit]]]
            if record.block != block.index:
                wrong.append(f"block {record.block}, the design says {block.index}")
        if record.planned_arm != planned:
            wrong.append(f"planned {record.planned_arm}, the draw gives {planned}")
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
        if not seen and through is None:
            yield Difference("missing", market, None, "no record of this market at all")
            continue
        released = [day for (unit, day), same in assignments.items()
                    if market_of(unit) == market and same[0].reason.code == "released"]  # fmt: skip
        last = min(
            through if through is not None else max(seen),
            experiment.end - timedelta(days=1),
            min(released, default=date.max) - timedelta(days=1),
        )
        zone = experiment.time_zones()[market]
        for k in range((last - experiment.start).days + 1):
            day = experiment.start + timedelta(days=k)
            if (market, day) in excused or not period(day, zone).exists:
                continue
            for unit in units:
                if (unit, day) not in assignments and (unit, day) not in excused:
                    yield Difference("missing", unit, day, "no record, and none that says why")
