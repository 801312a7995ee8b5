"""What people and time ask of an experiment in a market: read from the store, judged by the controller."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from controller.decisions import lifecycle
from controller.decisions.kill_switches import killed
from controller.decisions.lifecycle import AT_ONCE, Lifecycle, due_by_clock
from controller.definition.experiment import Experiment
from controller.messages.control import Kill, LifecycleChanged, LifecycleRequest
from controller.schedule.due import MarketPlan
from streams.store import Registration

#: characters of a reason
DETAIL = 500


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Control prices now, whatever was decided: what for, and who asked for it."""

    #: the same for the same order, however often it is seen
    id: str
    detail: str


def life(registration: Registration, now: datetime) -> Lifecycle:
    """Where an experiment stands, the moves included that time has made since it was last written down."""
    written = Lifecycle(registration.experiment, registration.state, registration.frozen, registration.history)
    return lifecycle.lived(written, now)


def moves_of_the_clock(registrations: Mapping[str, Registration], now: datetime) -> Iterator[LifecycleRequest]:
    """The moves that time has made in experiments' lives and that are not recorded yet."""
    for known in registrations.values():
        written = Lifecycle(known.experiment, known.state, known.frozen, known.history)
        request = due_by_clock(written, now)
        if request is not None:
            yield request


def holds_back(lived: Lifecycle, kills: Mapping[str, Kill], market: str) -> bool:
    """Whether nothing more is drawn for a market: its units go back to control, at the latest at the next boundary."""
    to_begin = lived.state == "scheduled"
    return not (to_begin or lived.shows == "design") or _killed(lived, kills, market) is not None


def at_once(lived: Lifecycle, kills: Mapping[str, Kill], market: str) -> AtOnce | None:
    """The order that puts a market's units on control without waiting for a boundary."""
    kill = _killed(lived, kills, market)
    if kill is not None:
        said = f"kill of {f'{kill.scope} {kill.name}'.strip()} by {kill.who}: {kill.why}"
        return AtOnce(f"{kill.id}/{kill.requested_at.isoformat()}", said[:DETAIL])
    change: LifecycleChanged | None = next((c for c in lived.history if c.action in AT_ONCE), None)
    if change is None:
        return None
    return AtOnce(change.id, f"{change.action} of {change.experiment} by {change.who}: {change.why}"[:DETAIL])


def _killed(lived: Lifecycle, kills: Mapping[str, Kill], market: str) -> Kill | None:
    return killed(kills.values(), lived.experiment.name, market)


def resumed(plan: MarketPlan, experiment: Experiment) -> MarketPlan:
    """The plan of a market that is no longer held back: units that a pause or a kill released are drawn again."""
    over = plan.decided_through is not None and plan.decided_through >= experiment.end
    return replace(plan, released=False) if plan.released and not over else plan


def holding(lived: Lifecycle, plan: MarketPlan) -> bool:
    """Whether a market of an experiment has units to let go, or days to report that were missed."""
    return plan.holds or (lived.begun and not plan.released)


def unfinished(lived: Lifecycle, plan: MarketPlan) -> bool:
    """Whether a market has anything to decide: what is put away too soon still comes to its end."""
    return lived.state not in ("draft", "archived") or holding(lived, plan)
