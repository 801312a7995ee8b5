"""What a change of the catalog does to a running unit: as the owner declared."""

from dataclasses import dataclass
from typing import Literal

from controller.definition.experiment import Experiment
from controller.definition.parameters import CatalogReaction
from controller.messages.inputs import CatalogEntry
from controller.validation.price_rules import static_breach

Change = Literal["cost_up", "list_price_changed", "delisted", "out_of_stock"]
#: the stronger reaction wins where several changes come at once
STRENGTH: dict[CatalogReaction, int] = {"keep": 0, "reprice": 1, "drop": 2}


@dataclass(frozen=True, slots=True)
class Reaction:
    """What becomes of a unit."""

    changes: tuple[Change, ...]
    action: CatalogReaction
    #: arm and price from the next boundary on; None where nothing changes, control where a limit forbids the arm
    arm: int | None
    price_minor: int | None
    reason: str


def changes(before: CatalogEntry, after: CatalogEntry) -> tuple[Change, ...]:
    """What changed between two entries of a unit, as far as a price is concerned."""
    found: list[Change] = []
    if after.cost_minor is not None and (before.cost_minor is None or after.cost_minor > before.cost_minor):
        found.append("cost_up")
    if after.list_price_minor != before.list_price_minor:
        found.append("list_price_changed")
    if after.delisted and not before.delisted:
        found.append("delisted")
    if before.in_stock and not after.in_stock:
        found.append("out_of_stock")
    return tuple(found)


def react(experiment: Experiment, before: CatalogEntry, after: CatalogEntry, arm: int) -> Reaction:
    """The declared reaction of a unit that holds ``arm`` when its catalog entry changes."""
    found = changes(before, after)
    policy = experiment.on_catalog_change
    action = max((getattr(policy, change) for change in found), key=lambda a: STRENGTH[a], default="keep")
    said = ", ".join(change.replace("_", " ") for change in found) or "nothing that concerns a price"
    if action == "keep":
        return Reaction(found, "keep", None, None, f"{said}: prices are kept as declared")
    if action == "drop":
        return Reaction(found, "drop", 0, None, f"{said}: the unit leaves the experiment and goes back to control")
    control = experiment.control.price.price_minor(after.list_price_minor)
    price = experiment.arms[arm].price.price_minor(after.list_price_minor)
    breach = static_breach(experiment.limits, after, control, price, control=arm == 0)
    if breach is None or arm == 0:
        return Reaction(found, "reprice", arm, price, f"{said}: priced anew")
    return Reaction(found, "reprice", 0, control, f"{said}: {breach}, so the unit keeps control")
