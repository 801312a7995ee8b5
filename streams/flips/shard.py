"""A shard as its owner holds it in memory: all of it can be read back from the store."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from controller.decisions.enrolment import Enrolment
from controller.decisions.lifecycle import Lifecycle
from controller.decisions.roster import Roster
from controller.designs.entries import Entry
from controller.messages.control import Kill
from controller.schedule.due import MarketPlan
from streams.closing.day_close import Closing
from streams.control.overrides import life
from streams.outputs.outbox_relay import Relay
from streams.store import NOTHING, Registration, plan_key
from streams.worker.last_line import Place, Suspended
from streams.worker.metrics import Why


@dataclass(slots=True)
class Shard:
    """A partition of the tick topic, with what is known of its markets."""

    number: int
    epoch: int
    #: offset of the first tick not yet decided
    tick: int
    relay: Relay
    closing: Closing
    tasks: list[asyncio.Task[None]]
    suspended: Suspended
    version: int = -1
    rosters: dict[str, Roster] = field(default_factory=dict)
    registrations: dict[str, Registration] = field(default_factory=dict)
    kills: dict[str, Kill] = field(default_factory=dict)
    plans: dict[str, MarketPlan] = field(default_factory=dict)
    #: how far back prices are remembered: as far as the limits of any experiment look
    remember: timedelta = NOTHING
    #: (plan, order) of what was carried out at once; a new owner does it again, which the store makes nothing of
    carried_out: set[tuple[str, str]] = field(default_factory=set)
    #: offset of the first trigger not yet answered
    trigger: int = 0
    #: by `plan_key`
    enrolments: dict[str, Enrolment] = field(default_factory=dict)
    #: moves of the clock that were asked of those who write lives down
    asked: set[str] = field(default_factory=set)
    #: unit -> what the catalog said when this was last put on the log
    acted: dict[str, str] = field(default_factory=dict)
    #: unit -> why it showed what it did when the units were counted last
    shown: dict[str, Why] = field(default_factory=dict)
    #: (plan, day) that began without a decision and were counted as undelivered
    missed: set[tuple[str, date]] = field(default_factory=set)
    #: of a view: the one place that is worked for
    alone: Place | None = None

    def only(self, place: Place) -> "Shard":
        """A view of the shard with the same memory, in which there is one market of one experiment."""
        return replace(self, alone=place)

    def takes(self, market: str, experiment: str) -> bool:
        """Whether anything is decided for a market of an experiment."""
        if self.alone is not None and self.alone != (market, experiment):
            return False
        return not self.suspended.holds(market, experiment)

    def plan(self, laid_out: Roster, market: str) -> MarketPlan:
        """The plan of a market for one experiment; a fresh one where nothing was decided yet."""
        return self.plans.get(key_of_plan(laid_out, market), MarketPlan())

    def life(self, laid_out: Roster, now: datetime) -> Lifecycle:
        return life(self.registrations[laid_out.experiment.name], now)

    def entries(self, laid_out: Roster) -> tuple[Entry, ...]:
        """Who has entered an experiment, in the shard's markets."""
        known = (self.enrolments.get(key_of_plan(laid_out, market)) for market in laid_out.units)
        return tuple(entry for enrolment in known if enrolment is not None for entry in enrolment.entries)


def key_of_plan(laid_out: Roster, market: str) -> str:
    return plan_key(laid_out.experiment.name, laid_out.experiment.version, market)
