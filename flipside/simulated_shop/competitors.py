"""Rivals that we make up for a replay of a triggered design: the same for the same seed, and none asks for our arms.

A history of sales tells what a week's prices were, not when within a day a rival moved. So each unit has one rival who
stands a little above our list price, and on some days goes far below it, or runs out of stock, for a few days.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from controller.decisions.triggers import RivalHistory, fired, observe
from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.definition.parameters import Triggered
from controller.messages.inputs import CompetitorPrice
from controller.randomisation.hash_scores import HASH_RANGE, score
from flipside.sales_history.history import History

#: the chance that a rival's move begins on a day, how many days it lasts, and what part of them are empty shelves
MOVES_A_DAY, LASTING_DAYS, EMPTY_SHELVES = 0.06, 3, 0.125
#: of our list price
USUALLY, DURING_A_MOVE = 1.05, 0.8


@dataclass(frozen=True, slots=True)
class Wave:
    """Prices seen at once, and the triggers that they must lead to: one a market, so that their order is no chance."""

    prices: tuple[CompetitorPrice, ...]
    triggers: frozenset[str]


@dataclass(slots=True)
class Rivals:
    """One rival for each unit of an experiment."""

    experiment: Experiment
    seed: str
    #: unit -> our list price
    listed: dict[str, int]
    clusters: dict[str, str]
    histories: dict[str, RivalHistory] = field(default_factory=dict)
    #: all that was seen, in order
    seen: list[CompetitorPrice] = field(default_factory=list)

    def price(self, unit: str, number: int) -> int | None:
        """What the rival of a unit asks in a period; None: out of stock."""
        for back in range(min(LASTING_DAYS, number + 1)):
            drawn = score(self.seed, "rival", unit, number - back) / HASH_RANGE
            if drawn < MOVES_A_DAY:
                return None if drawn < MOVES_A_DAY * EMPTY_SHELVES else round(self.listed[unit] * DURING_A_MOVE)
        return round(self.listed[unit] * USUALLY)

    def move(self, number: int, at: datetime) -> Iterator[Wave]:
        """One look at every rival in a period."""
        design = self.experiment.design
        assert isinstance(design, Triggered)
        waves: list[list[CompetitorPrice]] = [[]]
        triggers: list[set[str]] = [set()]
        by_market: dict[str, int] = {}
        for unit in self.experiment.units:
            event = CompetitorPrice(
                id=f"rival/{number}/{unit}",
                unit=unit,
                competitor="rival",
                observed_at=at,
                price_minor=self.price(unit, number),
                currency=self.experiment.currency,
            )
            self.seen.append(event)
            known = self.histories.get(unit, RivalHistory())
            self.histories[unit], fires = observe(design.rule, known, event, self.listed[unit])
            if not fires:
                waves[0].append(event)
                continue
            market = market_of(unit)
            wave = by_market[market] = by_market.get(market, -1) + 1
            if wave == len(waves):
                waves.append([])
                triggers.append(set())
            waves[wave].append(event)
            triggers[wave].add(fired(self.experiment, self.clusters[unit], event).id)
        for prices, ids in zip(waves, triggers, strict=True):
            yield Wave(tuple(prices), frozenset(ids))


def rivals_of(experiment: Experiment, history: History, seed: str) -> Rivals | None:
    """The rivals of an experiment that starts on their moves; None where it does not."""
    if not isinstance(experiment.design, Triggered):
        return None
    listed = {entry.unit: entry.list_price_minor for entry in history.catalog}
    return Rivals(experiment, seed, listed, experiment.cluster_by_unit())
