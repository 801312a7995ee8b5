"""The promises, checked from outside: the log against the definition, the blackouts and what was shown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from controller.decisions.verify import RELEASE_BLOCK
from controller.definition.experiment import Experiment, design_hash
from controller.definition.field_types import market_of
from controller.definition.parameters import Triggered
from controller.designs import design_of
from controller.messages.control import Entered
from controller.messages.events import Assignment, Registered
from controller.messages.inputs import Blackout
from controller.time.periods import day_start, period


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and by which record."""

    promise: str
    what: str


@dataclass(frozen=True, slots=True)
class Census:
    """The log in numbers."""

    flips: int
    flips_blocked: int
    decisions: int
    repeated: int


def first_of_each(log: Iterable[Assignment]) -> tuple[list[Assignment], int, list[Violation]]:
    """Decisions without their repetitions, how many repetitions there were, and any that was not the same twice."""
    seen: dict[str, Assignment] = {}
    repeated, violations = 0, []
    for record in log:
        held = seen.setdefault(record.id, record)
        if held is record:
            continue
        repeated += 1
        if held != record:
            violations.append(Violation("exactly once", f"{record.id} was decided twice, differently"))
    return list(seen.values()), repeated, violations


def check(
    registered: Registered,
    log: Iterable[Assignment],
    blackouts: Iterable[Blackout],
    entered: Sequence[Entered] = (),
) -> tuple[Census, list[Violation]]:
    """Every promise that the log alone can break."""
    experiment = registered.experiment
    decisions, repeated, violations = first_of_each(log)
    if design_hash(experiment) != registered.design_hash:
        violations.append(Violation("determinism", "the published hash is not that of the published definition"))
    zones, windows = experiment.time_zones(), list(blackouts)
    design, drawn = design_of(experiment), dict[int, Mapping[str, int]]()
    control = experiment.control.name
    by_cluster: dict[str, list[Entered]] = {}
    for entry in entered:
        by_cluster.setdefault(entry.cluster, []).append(entry)
    flips = blocked = 0
    last: dict[str, Assignment] = {}
    for record in sorted(decisions, key=lambda r: (r.epoch, r.sequence)):
        where = f"{record.id} (effective {record.effective_at})"
        mine = by_cluster.get(record.cluster, ())
        begins = any(e.starts_at == record.effective_at for e in mine)
        urgent = _urgent(record, control)
        if not (urgent or begins) and record.effective_at != day_start(record.day, zones[market_of(record.unit)]):
            violations.append(Violation("boundary", f"{where} is not the first instant of its local day"))
        if record.decided_at > record.effective_at or (not urgent and record.decided_at == record.effective_at):
            violations.append(Violation("ahead", f"{where} was decided at {record.decided_at}, not before"))
        block = design.block_on(experiment, record.day)
        if block is not None and record.block != RELEASE_BLOCK:
            if block.index not in drawn:
                drawn[block.index] = design.arms(experiment, block)
            arms = drawn[block.index]
            planned = experiment.arms[arms[record.cluster]].name
            if isinstance(experiment.design, Triggered):
                planned = next((e.arm for e in mine if _runs(e, record)), control)
            if record.planned_arm != planned:
                violations.append(Violation("determinism", f"{where} planned {record.planned_arm}, the draw {planned}"))
        elif record.planned_arm != control:
            violations.append(Violation("determinism", f"{where} planned {record.planned_arm} where nothing is drawn"))
        previous = last.get(record.unit)
        unbroken = previous is not None and (previous.expires_at is None or previous.expires_at >= record.effective_at)
        before = previous.arm if previous is not None and unbroken else control
        # A lease over a block of days is renewed on each of them; what must not overlap is another arm. What is urgent
        # takes the place of what was decided for its day and for later ones.
        replaces = urgent or record.reason.code == "late"
        if not replaces and previous is not None and previous.arm != record.arm and _runs_into(previous, record):
            violations.append(Violation("one price", f"{where} overlaps {previous.id}"))
        if record.arm != before:
            flips += 1
            if not urgent and _covered(windows, record):
                violations.append(Violation("blackout", f"{where} changed {before} to {record.arm} in a blackout"))
        if record.arm != record.planned_arm:
            blocked += 1
        last[record.unit] = record
    return Census(flips, blocked, len(decisions), repeated), violations


def _runs(entry: Entered, record: Assignment) -> bool:
    return entry.starts_at <= record.effective_at and entry.first_day <= record.day < entry.end_day


def _urgent(record: Assignment, control: str) -> bool:
    """Control at once, which waits for no boundary and no end of a blackout: it says who asked for it, and why."""
    return record.reason.code == "released" and record.arm == control and bool(record.reason.detail)


def _runs_into(previous: Assignment, record: Assignment) -> bool:
    return previous.expires_at is not None and previous.expires_at > record.effective_at


def _covered(windows: Iterable[Blackout], record: Assignment) -> bool:
    """Written apart from the product's own rule on purpose: a checker that shares the rule shares its bugs."""
    for window in windows:
        if not window.starts_at <= record.effective_at < window.ends_at:
            continue
        scope, name = window.scope.kind, window.scope.name
        if scope == "global":
            return True
        if scope == "market" and record.unit.split("/")[0] == name:
            return True
        if (scope == "cluster" and record.cluster == name) or (scope == "unit" and record.unit == name):
            return True
    return False


def check_shown(
    log: Iterable[Assignment], shown: Mapping[tuple[str, date], str], experiment: Experiment
) -> list[Violation]:
    """What a pricing system showed in the middle of each day against what the log says."""
    zones, records = experiment.time_zones(), dict[tuple[str, date], list[Assignment]]()
    for record in log:
        records.setdefault((record.unit, record.day), []).append(record)
    found = []
    for (unit, day), arm in shown.items():
        span = period(day, zones[market_of(unit)])
        middle = span.start + (span.end - span.start) / 2
        held = [record for record in records.get((unit, day), ()) if record.effective_at <= middle]
        said = max(held, key=lambda r: (r.epoch, r.sequence)).arm if held else experiment.control.name
        if said != arm:
            found.append(Violation("one price", f"{unit} showed {arm} on {day}, the log says {said}"))
    return found
