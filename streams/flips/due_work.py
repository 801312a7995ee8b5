"""What a shard has still to do: questions about what its owner holds in memory, which change nothing."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from controller.decisions.lifecycle import Lifecycle
from controller.decisions.roster import Roster
from controller.schedule.due import MarketPlan, due
from controller.time.periods import period
from streams.control.overrides import AtOnce, at_once, holds_back, resumed, unfinished
from streams.flips.shard import Shard, key_of_plan
from streams.worker.services import Parts
from streams.worker.shard_metrics import Waiting


def markets_of(parts: Parts, shard: Shard, laid_out: Roster) -> list[str]:
    """The markets of an experiment that this shard decides for; not those that are set aside."""
    name, number = laid_out.experiment.name, shard.number
    return [market for market in laid_out.units if parts.shard_of(market) == number and shard.takes(market, name)]


def is_due(parts: Parts, shard: Shard, laid_out: Roster, now: datetime) -> bool:
    return next(dues(parts, shard, laid_out, now), None) is not None


def dues(parts: Parts, shard: Shard, laid_out: Roster, now: datetime) -> Iterator[Waiting]:
    """Since when what is due has waited to be decided."""
    for stopped, plans in plans_of(parts, shard, laid_out, now):
        for market, plan in plans.items():
            found = due(laid_out.experiment, laid_out.time_zones[market], plan, now, stopped)
            if found is not None:
                yield found.period.start - laid_out.experiment.lead


def leases(parts: Parts, shard: Shard, now: datetime) -> Iterator[datetime]:
    """When what was announced ends: of leases that are over, those that something should have followed."""
    for laid_out in shard.rosters.values():
        lived = None
        for market in markets_of(parts, shard, laid_out):
            plan = shard.plan(laid_out, market)
            if plan.decided_through is None or plan.released:
                continue
            end = period(plan.decided_through, laid_out.time_zones[market]).end
            if end <= now:
                lived = lived or shard.life(laid_out, now)
                ends = period(laid_out.experiment.end, laid_out.time_zones[market]).start
                if now >= ends or holds_back(lived, shard.kills, market):
                    continue
            yield end


def plans_of(
    parts: Parts, shard: Shard, laid_out: Roster, now: datetime
) -> Iterator[tuple[bool, dict[str, MarketPlan]]]:
    """The plans of this shard's markets: of those that are drawn for, and of those that are held back."""
    markets = markets_of(parts, shard, laid_out)
    if not markets:
        return
    lived = shard.life(laid_out, now)
    plans: dict[bool, dict[str, MarketPlan]] = {False: {}, True: {}}
    for market in _unfinished(markets, shard, laid_out, lived):
        held_back, plan = holds_back(lived, shard.kills, market), shard.plan(laid_out, market)
        plans[held_back][market] = plan if held_back else resumed(plan, laid_out.experiment)
    yield from plans.items()


def orders_at_once(parts: Parts, shard: Shard, now: datetime) -> Iterator[tuple[Roster, str, AtOnce]]:
    """Orders that wait for no boundary and were not yet carried out."""
    for laid_out in shard.rosters.values():
        markets = markets_of(parts, shard, laid_out)
        if not markets:
            continue
        lived = shard.life(laid_out, now)
        for market in _unfinished(markets, shard, laid_out, lived):
            order = at_once(lived, shard.kills, market)
            if order is not None and (key_of_plan(laid_out, market), order.id) not in shard.carried_out:
                yield laid_out, market, order


def _unfinished(markets: Iterable[str], shard: Shard, laid_out: Roster, lived: Lifecycle) -> list[str]:
    """Those in which an experiment has anything to decide."""
    return [m for m in markets if unfinished(lived, shard.plan(laid_out, m))]
