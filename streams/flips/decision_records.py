"""What the log records of decisions besides assignments: missed days, units left as they are."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date

from controller.decisions.decide import Decision, Flip
from controller.decisions.roster import Roster
from controller.messages.events import CE_TYPES, Withheld
from controller.schedule.due import MarketPlan
from streams.store import Outcome
from streams.store.restore_port import HeldUnit

WITHHELD_NAMED = 1000


def because(flip: Flip, detail: str) -> Flip:
    """A flip that says why."""
    return replace(flip, proposals=tuple(replace(proposal, detail=detail) for proposal in flip.proposals))


def missed_days(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """(type, JSON) of the records of days that were missed before these decisions.

    They are published ahead of the decisions: a store that is rebuilt from a log with a decision and without the gap
    before it would take the market for one that has missed nothing.
    """
    return [(CE_TYPES[type(message)], message.model_dump_json()) for d in decisions for message in d.messages]


def granted_through(laid_out: Roster, market: str, plan: MarketPlan, held: Mapping[str, HeldUnit]) -> MarketPlan:
    """A plan that knows of what was decided by an owner that ended before it had settled it. Pure."""
    owner = f"{laid_out.experiment.name}.{laid_out.experiment.version}"
    found = [held[unit].day for unit in laid_out.units[market] if unit in held and held[unit].owner == owner]
    through = date.fromordinal(min(found)) if found else None
    if through is None or (plan.decided_through is not None and through <= plan.decided_through):
        return plan
    return replace(plan, decided_through=through)


def withheld(flip: Flip, outcome: Outcome) -> list[tuple[str, str]]:
    """(type, JSON) of the record on units for which the store wrote nothing, if there are any."""
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
    return [(CE_TYPES[Withheld], record.model_dump_json())]
