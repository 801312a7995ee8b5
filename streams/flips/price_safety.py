"""What stands between a draw and a price: catalog changes treated as declared, limits kept, and both put on record."""

from collections.abc import Iterator, Mapping, Sequence

from controller.decisions.catalog_changes import Reaction
from controller.decisions.decide import Flip
from controller.decisions.limits import Kept
from controller.definition.field_types import event_id, milliseconds
from controller.messages.codec import TYPES
from controller.messages.control import CatalogActed, LimitKept
from controller.messages.inputs import CatalogEntry
from streams.control.overrides import DETAIL, as_declared, looks_back, within_limits
from streams.flips.shard import Shard
from streams.worker.services import Parts


async def safe(
    parts: Parts, shard: Shard, flip: Flip, catalog: Mapping[str, CatalogEntry]
) -> tuple[Flip, list[tuple[str, str]]]:
    """A flip as the catalog's changes and the price limits leave it, with what the log is told of that.

    ``catalog``: the last entry of every unit that ever was.
    """
    if flip.expires_at is None:
        return flip, []
    registration = shard.registrations[flip.experiment]
    limits = registration.experiment.limits
    declared, reactions = as_declared(flip, registration.experiment, registration.listed, catalog)
    units = [proposal.unit for proposal in flip.proposals]
    past = await parts.store.past_prices(shard.number, units) if looks_back(limits) else {}
    within, kept = within_limits(declared, limits, catalog, past)
    told = [*_acted(shard, flip, reactions, catalog), *_kept(flip, kept)]
    return within, [(TYPES[type(message)], message.model_dump_json()) for message in told]


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
