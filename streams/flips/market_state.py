"""What stands for each market of each experiment at one instant: computed once, and asked by every step of a tick."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from controller.decisions.roster import Roster
from controller.schedule.due import Due, MarketPlan, due
from controller.time.periods import period
from streams.control.overrides import AtOnce, at_once, holds_back, resumed, unfinished
from streams.flips.shard import Shard, key_of_plan
from streams.store.restore_port import HeldUnit
from streams.worker.services import Parts
from streams.worker.shard_metrics import Waiting


@dataclass(frozen=True, slots=True)
class MarketState:
    """One market of one experiment."""

    roster: Roster
    market: str
    #: how far its decisions have got
    plan: MarketPlan
    #: nothing more is drawn: a kill, a pause or the end keeps control
    suppressed: bool
    #: asks for control without waiting for a boundary, and was not carried out yet
    order: AtOnce | None
    #: the day that must be decided now
    upcoming: Due | None

    @property
    def key(self) -> str:
        return key_of_plan(self.roster, self.market)


@dataclass(frozen=True, slots=True)
class ShardState:
    """All markets of a shard, experiment by experiment, at one instant."""

    at: datetime
    markets: tuple[MarketState, ...]

    @property
    def orders(self) -> list[tuple[MarketState, AtOnce]]:
        """What waits for no boundary."""
        return [(found, found.order) for found in self.markets if found.order is not None]

    @property
    def due(self) -> list[MarketState]:
        """Markets with a day that must be decided now."""
        return [found for found in self.markets if found.upcoming is not None]

    def waiting(self) -> Iterator[Waiting]:
        """Since when what is due has waited to be decided."""
        for found in self.markets:
            if found.upcoming is not None:
                yield found.upcoming.period.start - found.roster.experiment.lead

    def leases(self) -> Iterator[datetime]:
        """When what was announced ends: of leases that are over, those that something should have followed."""
        for found in self.markets:
            plan, zone = found.plan, found.roster.time_zones[found.market]
            if plan.decided_through is None or plan.released:
                continue
            end = period(plan.decided_through, zone).end
            over = period(found.roster.experiment.end, zone).start
            if end > self.at or not (self.at >= over or found.suppressed):
                yield end

    def draws(self) -> Iterator[tuple[Roster, dict[str, MarketPlan]]]:
        """Each experiment with the plans of its markets that are due: of those that are drawn for, then of the rest."""
        by_experiment: dict[str, list[MarketState]] = {}
        for found in self.due:
            by_experiment.setdefault(found.roster.experiment.name, []).append(found)
        for some in by_experiment.values():
            for stopped in (False, True):
                plans = {f.market: _drawn_for(f.roster, f.plan, stopped) for f in some if f.suppressed is stopped}
                if plans:
                    yield replace(some[0].roster, stopped=stopped), plans

    def granted(self, held: Mapping[str, HeldUnit]) -> dict[str, MarketPlan]:
        """Plans that change once it is known what was granted to their units, by `plan_key`."""
        known = ((found, granted_through(found.roster, found.market, found.plan, held)) for found in self.markets)
        return {found.key: plan for found, plan in known if plan != found.plan}

    def planned(self, plans: Mapping[str, MarketPlan]) -> "ShardState":
        """The state once these plans (by `plan_key`) hold; what was asked for at once there is done."""
        return replace(
            self,
            markets=tuple(
                found if (plan := plans.get(found.key)) is None else _planned(found, plan, self.at)
                for found in self.markets
            ),
        )


def state_of(parts: Parts, shard: Shard, at: datetime) -> ShardState:
    """What stands for the markets that a shard decides for. O(markets of its experiments)."""
    found: list[MarketState] = []
    for laid_out in shard.rosters.values():
        markets = markets_of(parts, shard, laid_out)
        if not markets:
            continue
        lived = shard.life(laid_out, at)
        for market in markets:
            plan, suppressed = shard.plan(laid_out, market), holds_back(lived, shard.kills, market)
            order, upcoming = None, None
            if unfinished(lived, plan):
                order = at_once(lived, shard.kills, market)
                if order is not None and (key_of_plan(laid_out, market), order.id) in shard.carried_out:
                    order = None
                upcoming = _due(laid_out, market, plan, suppressed, at)
            found.append(MarketState(laid_out, market, plan, suppressed, order, upcoming))
    return ShardState(at, tuple(found))


def markets_of(parts: Parts, shard: Shard, laid_out: Roster) -> list[str]:
    """The markets of an experiment that this shard decides for; not those that are set aside."""
    name, number = laid_out.experiment.name, shard.number
    return [market for market in laid_out.units if parts.shard_of(market) == number and shard.takes(market, name)]


def granted_through(laid_out: Roster, market: str, plan: MarketPlan, held: Mapping[str, HeldUnit]) -> MarketPlan:
    """A plan that knows of what was decided by an owner that ended before it had settled it. Pure."""
    owner = laid_out.experiment.plan_name
    found = [held[unit].day for unit in laid_out.units[market] if unit in held and held[unit].owner == owner]
    through = date.fromordinal(min(found)) if found else None
    if through is None or (plan.decided_through is not None and through <= plan.decided_through):
        return plan
    return replace(plan, decided_through=through)


def _planned(found: MarketState, plan: MarketPlan, at: datetime) -> MarketState:
    upcoming = _due(found.roster, found.market, plan, found.suppressed, at)
    return replace(found, plan=plan, order=None, upcoming=upcoming)


def _drawn_for(laid_out: Roster, plan: MarketPlan, suppressed: bool) -> MarketPlan:
    return plan if suppressed else resumed(plan, laid_out.experiment)


def _due(laid_out: Roster, market: str, plan: MarketPlan, suppressed: bool, at: datetime) -> Due | None:
    asked = _drawn_for(laid_out, plan, suppressed)
    return due(laid_out.experiment, laid_out.time_zones[market], asked, at, suppressed)
