"""What a replay plays: a history, a definition, and the effect that is planted in it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from controller.definition.experiment import Arm, Experiment, PriceRule, RandomDays
from controller.messages.graphs import GraphPart
from controller.messages.inputs import Blackout
from flipside.replay.progress import Progress
from flipside.sales_history.history import History
from flipside.simulated_shop.shop import Sells

if TYPE_CHECKING:
    from flipside.replay.replay import Replayer

#: data weeks become consecutive local days from here on: a spring with a change of clocks
FIRST_DAY = date(1990, 3, 12)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay."""

    history: History
    experiment: Experiment
    effect: float
    seed: str
    #: periods of the history that lie before the experiment's start: the shop sells at control
    before: int = 0
    blackouts: tuple[Blackout, ...] = ()
    #: the graph that the experiment's clusters come from, as it is published; the head is last
    graph: tuple[GraphPart, ...] = ()
    #: what is sold where it follows from all units' arms; None: the history, with the planted effect
    sells: Sells | None = None
    #: category -> its planted effect, where it is not `effect`
    effects_by_category: Mapping[str, float] = field(default_factory=dict)
    #: called at the start of each period, before its assignments are due: where tests kill and poison
    on_period: Callable[["Replayer", int], Awaitable[None]] | None = None
    on_progress: Callable[[Progress], None] | None = None
    #: called with the seconds from the start of the replay, when a pricing system first holds an assignment
    on_first_assignment: Callable[[float], None] = lambda seconds: None
    #: called once catalog, blackouts and definition are published, before anybody is waited for
    on_submitted: Callable[[], None] = lambda: None
    #: asked while waiting: raises if a process that we depend on has ended
    check_alive: Callable[[], None] = lambda: None

    @property
    def own_effects(self) -> dict[str, float]:
        """Unit -> its planted effect, of units whose category has one of its own."""
        of = self.effects_by_category
        return {
            entry.unit: of[entry.category] for entry in self.history.catalog if entry.category and entry.category in of
        }

    def truth(self, units: Sequence[str]) -> float:
        """The planted effect on all that these units sell, relative to control."""
        own, chosen = self.own_effects, set(units)
        sold = [row for period in self.history.periods[self.before :] for row in period if row.unit in chosen]
        packs = sum(row.packs for row in sold)
        if not own or packs == 0:
            return self.effect
        return sum(row.packs * own.get(row.unit, self.effect) for row in sold) / packs


def default_experiment(history: History, name: str, seed: str) -> Experiment:
    """Random days over all stores: each day half of them pay 5 % more."""
    return Experiment(
        name=name,
        owner="replay",
        description="planted effect on real sales",
        currency=history.currency,
        units=tuple(entry.unit for entry in history.catalog),
        clusters="market",
        arms=(Arm(name="control"), Arm(name="treatment", price=PriceRule.model_validate_json('{"percent": "5"}'))),
        design=RandomDays(),
        start=FIRST_DAY,
        days=len(history.periods),
        seed=seed,
    )
