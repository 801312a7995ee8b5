"""What stands between a draw and a price: catalog changes treated as declared, limits kept, and both put on record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from controller.decisions.catalog_changes import Reaction, react
from controller.decisions.decide import Flip, Proposal
from controller.decisions.limits import WEEK, Kept, keep_within
from controller.definition.experiment import Experiment
from controller.definition.field_types import event_id, milliseconds
from controller.definition.parameters import Limits
from controller.messages.control import CatalogActed, LimitKept
from controller.messages.inputs import CatalogEntry
from controller.validation.price_rules import PriceChange
from streams.control.overrides import DETAIL
from streams.flips.decision_records import log_record
from streams.flips.shard import Shard
from streams.store import NOTHING, LogRecord, PastPrices
from streams.worker.services import Parts


async def safe(
    parts: Parts, shard: Shard, flip: Flip, catalog: Mapping[str, CatalogEntry]
) -> tuple[Flip, list[LogRecord]]:
    """A flip as the catalog's changes and the price limits leave it, with what the log is told of that.

    ``catalog``: the last entry of every unit that ever was.
    """
    if flip.is_release:
        return flip, []
    registration = shard.registrations[flip.experiment]
    limits = registration.experiment.limits
    declared, reactions = as_declared(flip, registration.experiment, registration.listed, catalog)
    units = [proposal.unit for proposal in flip.proposals]
    past = await parts.store.past_prices(shard.number, units) if looks_back(limits) else {}
    within, kept = within_limits(declared, limits, catalog, past)
    told = [*_acted(shard, flip, reactions, catalog), *_kept(flip, kept)]
    return within, [log_record(message) for message in told]


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


def _acted(
    shard: Shard, flip: Flip, reactions: Mapping[str, Reaction], catalog: Mapping[str, CatalogEntry]
) -> Iterator[CatalogActed]:
    """One record for each state of a unit's entry, not one a day; a new owner says it again."""
    for unit, reaction in reactions.items():
        entry = catalog[unit]
        says = f"{entry.list_price_minor}/{entry.cost_minor}/{entry.delisted}/{entry.in_stock}/{reaction.action}"
        if shard.acted.get(unit) == says:
            continue
        shard.acted[unit] = says
        yield CatalogActed(
            id=event_id(_identity(flip, unit), "/catalog"),
            experiment=flip.experiment,
            experiment_version=flip.experiment_version,
            unit=unit,
            changes=reaction.changes,
            action=reaction.action,
            reason=reaction.reason[:DETAIL],
            decided_at=flip.decided_at,
        )


def _kept(flip: Flip, kept: Sequence[Kept]) -> Iterator[LimitKept]:
    for one in kept:
        yield LimitKept(
            id=event_id(_identity(flip, one.unit), "/limit"),
            experiment=flip.experiment,
            experiment_version=flip.experiment_version,
            unit=one.unit,
            day=flip.day,
            planned_arm=flip.arms[one.planned_arm],
            price_minor=one.price_minor,
            rule=one.breach.rule[:DETAIL],
            bound_minor=one.breach.bound_minor,
            decided_at=flip.decided_at,
        )


def _identity(flip: Flip, unit: str) -> str:
    """The same for the same decision, however often it is made."""
    instant = f"/{milliseconds(flip.effective_at)}" if flip.urgent else ""
    return f"{flip.experiment}.{flip.experiment_version}/{flip.day}/{unit}{instant}"
