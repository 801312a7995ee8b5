"""What people, time and the catalog ask of an experiment in a market: read from the store, judged by the controller."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from controller.decisions import lifecycle
from controller.decisions.catalog_changes import Reaction, react
from controller.decisions.decide import Decision, Flip, Proposal
from controller.decisions.kill_switches import killed
from controller.decisions.lifecycle import AT_ONCE, Lifecycle, due_by_clock
from controller.decisions.limits import WEEK, Kept, keep_within
from controller.decisions.roster import Roster
from controller.definition.experiment import Experiment
from controller.definition.parameters import Limits
from controller.messages.control import Kill, LifecycleChanged, LifecycleRequest
from controller.messages.events import CE_TYPES, Withheld
from controller.messages.inputs import CatalogEntry
from controller.schedule.due import MarketPlan
from controller.validation.price_rules import PriceChange
from streams.store import NOTHING, Outcome, PastPrices, Registration
from streams.store.restore_port import HeldUnit

DETAIL = 500
WITHHELD_NAMED = 1000


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


def because(flip: Flip, detail: str) -> Flip:
    """A flip that says why."""
    return replace(flip, proposals=tuple(replace(proposal, detail=detail) for proposal in flip.proposals))


# --- what is told of a decision ---------------------------------------------------------------------------------------


def told(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """(type, JSON) of what the log says besides their assignments: which days were missed.

    It says so ahead of them. A log that has a decision without the gap before it would be taken, by whoever rebuilds a
    store from it, for one of a market that has missed nothing.
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


def portions(flips: Sequence[Flip], units: int = 8000) -> Iterator[Sequence[Flip]]:
    """Flips in their order, some thousand units at a time."""
    first, held = 0, 0
    for place, flip in enumerate(flips):
        held += len(flip.proposals)
        if held >= units or place == len(flips) - 1:
            yield flips[first : place + 1]
            first, held = place + 1, 0


# --- the catalog ------------------------------------------------------------------------------------------------------


def as_declared(
    flip: Flip,
    experiment: Experiment,
    listed: Mapping[str, tuple[int, int | None]],
    catalog: Mapping[str, CatalogEntry],
) -> tuple[Flip, dict[str, Reaction]]:
    """A flip in which every unit whose catalog entry has changed since the registration is treated as declared.

    ``catalog``: the last entry of every unit; one that was removed is delisted. Also what was done, by unit.
    """
    reactions: dict[str, Reaction] = {}
    changed: dict[str, Proposal] = {}
    for proposal in flip.proposals:
        if proposal.arm == 0:
            continue
        after, before = catalog.get(proposal.unit), listed.get(proposal.unit)
        if after is None or before is None:
            continue
        if before == (after.list_price_minor, after.cost_minor) and after.in_stock and not after.delisted:
            continue
        then = after.model_copy(
            update={"list_price_minor": before[0], "cost_minor": before[1], "delisted": False, "in_stock": True}
        )
        reaction = react(experiment, then, after, proposal.arm)
        if reaction.changes:
            reactions[proposal.unit] = reaction
        if reaction.action == "drop":
            changed[proposal.unit] = replace(
                proposal, arm=0, planned_arm=proposal.arm, detail=reaction.reason[:DETAIL], code="dropped"
            )
        if reaction.action == "keep":
            prices = tuple(arm.price.price_minor(then.list_price_minor) for arm in experiment.arms)
            changed[proposal.unit] = replace(proposal, prices_minor=prices)
    if not changed:
        return flip, reactions
    return replace(flip, proposals=tuple(changed.get(p.unit, p) for p in flip.proposals)), reactions


# --- limits -----------------------------------------------------------------------------------------------------------


def looks_back(limits: Limits) -> timedelta:
    """How far back an experiment's limits ask what prices were."""
    week = WEEK if limits.max_changes_a_week is not None or limits.max_change_percent is not None else NOTHING
    return max(week, timedelta(days=limits.lowest_price_days) if limits.lowest_price_factor is not None else NOTHING)


def within_limits(
    flip: Flip, limits: Limits, catalog: Mapping[str, CatalogEntry], past: Mapping[str, PastPrices]
) -> tuple[Flip, tuple[Kept, ...]]:
    """A flip in which what would break a limit keeps control and says which, and the units that had to."""
    if not past:
        return keep_within(flip, limits, catalog, lambda _: ())
    control = {proposal.unit: proposal.prices_minor[0] for proposal in flip.proposals}

    def history(unit: str) -> Sequence[PriceChange]:
        known = past.get(unit, PastPrices())
        # A tick that is decided again finds its own change.
        changes = [change for change in known.changes if change.at < flip.effective_at]
        lapsed, base = known.lapses_at, control[unit]
        if changes and lapsed is not None and base is not None and changes[-1].at < lapsed < flip.effective_at:
            changes.append(PriceChange(lapsed, base))
        return changes

    return keep_within(flip, limits, catalog, history)
