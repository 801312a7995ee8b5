"""What the steps of a tick have written; and what the log records besides assignments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.decisions.decide import Decision, Flip
from controller.decisions.roster import Roster
from controller.definition.field_types import Message
from controller.designs.entries import Entry
from controller.messages.codec import TYPES
from controller.messages.events import Withheld
from controller.schedule.due import MarketPlan
from streams.store import LogRecord, Outcome

WITHHELD_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a tick has written: plans by `plan_key`, records for the log, entries that began."""

    plans: Mapping[str, MarketPlan] = field(default_factory=dict)
    records: Sequence[LogRecord] = ()
    begun: Sequence[tuple[Roster, list[Entry]]] = ()


@dataclass(slots=True)
class Written:
    """What the steps of a tick have written so far: it stays, whatever the next step comes to."""

    plans: dict[str, MarketPlan] = field(default_factory=dict)
    records: list[LogRecord] = field(default_factory=list)
    begun: list[tuple[Roster, list[Entry]]] = field(default_factory=list)

    def add(self, step: Step) -> None:
        self.plans |= step.plans
        self.records += step.records
        self.begun += step.begun


def log_record(message: Message) -> LogRecord:
    """A message as the outbox keeps it."""
    return LogRecord(TYPES[type(message)], message.model_dump_json())


def missed_days(decisions: Iterable[Decision]) -> list[LogRecord]:
    """The records of days that were missed before these decisions.

    They are published ahead of the decisions: a store that is rebuilt from a log with a decision and without the gap
    before it would take the market for one that has missed nothing.
    """
    return [log_record(message) for d in decisions for message in d.messages]


def withheld(flip: Flip, outcome: Outcome) -> list[LogRecord]:
    """The record on units for which the store wrote nothing, if there are any."""
    if not outcome.withheld:
        return []
    record = Withheld(
        id=f"{flip.experiment}.{flip.experiment_version}/{flip.market}/{flip.day}/withheld",
        experiment=flip.experiment,
        experiment_version=flip.experiment_version,
        market=flip.market,
        day=flip.day,
        units=outcome.withheld[:WITHHELD_NAMED],
        reason=f"{len(outcome.withheld)} units are held by another experiment, or the definition has changed",
        decided_at=flip.decided_at,
    )
    return [log_record(record)]
