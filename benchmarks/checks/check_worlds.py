"""Experiments for checks to look at: six designs, sales with weekdays and shocks, and what may go wrong with them."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.study import State, UnitDays, Unseen
from controller.definition.experiment import Arm, Experiment, Market, PriceRule

START = date(2026, 3, 2)
CLUSTERS, DAYS, HISTORY = 20, 28, 28
#: what treatment does: a tenth off the price, a sixth more sales
PRICE, EFFECT = -10, 0.15
Arms = NDArray[np.int8]
Rng = np.random.Generator


def _halves(rng: Rng, draws: int) -> Arms:
    """(draws, G) exact halves, drawn independently."""
    halves = np.arange(CLUSTERS) >= CLUSTERS // 2
    return rng.permuted(np.tile(halves, (draws, 1)), axis=1).astype(np.int8)


def _random_days(rng: Rng) -> Arms:
    return _halves(rng, DAYS)


def _crossover(rng: Rng) -> Arms:
    first = _halves(rng, 1)
    return np.repeat(np.concatenate([first, 1 - first]), DAYS // 2, axis=0).astype(np.int8)


def _time_bound(rng: Rng) -> Arms:
    return np.repeat(_halves(rng, 1), DAYS, axis=0)


def _triggered(rng: Rng) -> Arms:
    """Each cluster enters on a day of the first two weeks, in random order into alternating arms, for two weeks."""
    arm, entry = _halves(rng, 1)[0], rng.integers(0, DAYS // 2, CLUSTERS)
    day = np.arange(DAYS)[:, np.newaxis]
    return np.where((day >= entry) & (day < entry + DAYS // 2), arm, np.int8(State.UNDELIVERED)).astype(np.int8)


def _staggered(rng: Rng) -> Arms:
    """A quarter of the clusters from the second, third and fourth week on."""
    step = rng.permutation(CLUSTERS) // (CLUSTERS // 4)
    return (np.arange(DAYS)[:, np.newaxis] // 7 > step).astype(np.int8)


def _blocked(rng: Rng) -> Arms:
    return np.repeat(_halves(rng, DAYS // 4), 4, axis=0)


DESIGNS: dict[str, Callable[[Rng], Arms]] = {
    "random days": _random_days,
    "crossover": _crossover,
    "time-bound": _time_bound,
    "triggered": _triggered,
    "staggered": _staggered,
    "blocked": _blocked,
}


def definition(products: int) -> Experiment:
    """What the checks read of an experiment: its arms, prices and days."""
    markets = [f"m{k:02d}" for k in range(CLUSTERS)]
    return Experiment(
        name="checked",
        currency="EUR",
        units=tuple(f"{market}/p{k:03d}" for market in markets for k in range(products)),
        markets=tuple(Market(name=market, time_zone="Europe/Vienna") for market in markets),
        clusters="market",
        arms=(Arm(name="control"), Arm(name="low", price=PriceRule(percent=Decimal(PRICE)))),
        start=START,
        days=DAYS,
        seed="checked",
    )


def sound(rng: Rng, design: str, products: int, sales: float) -> UnitDays:
    """An experiment without any loss; some sales are late, some shelves empty, some rows corrected, blind to arms."""
    units, days = CLUSTERS * products, HISTORY + DAYS
    cluster = np.repeat(np.arange(CLUSTERS), products)
    arm = DESIGNS[design](rng)[:, cluster]
    state = np.concatenate([np.full((HISTORY, units), State.PRE_PERIOD, dtype=np.int8), arm])
    weekday = np.array([0.9, 0.8, 0.9, 1.0, 1.2, 1.4, 0.8])[np.arange(days) % 7]
    level = sales * rng.lognormal(-0.08, 0.4, units) * rng.lognormal(-0.045, 0.3, CLUSTERS)[cluster]
    shock = rng.lognormal(0.0, 0.1, (days, CLUSTERS))[:, cluster]
    mean = level * weekday[:, np.newaxis] * shock * np.where(state == 1, 1.0 + EFFECT, 1.0)
    events = rng.poisson(mean)
    basket = rng.lognormal(np.log(0.4), 0.3, units)
    quantity = events + rng.poisson(basket * events)
    price = rng.integers(100, 2000, units)
    charged = np.where(state == 1, np.floor(price * (1.0 + PRICE / 100.0) + 0.5 + 1e-9).astype(np.int64), price)
    return UnitDays(
        first_day=START - timedelta(days=HISTORY),
        before=HISTORY,
        cluster=cluster,
        state=state,
        assigned=state,
        observed=np.ones((days, units), dtype=np.bool_),
        unseen=np.zeros((days, units), dtype=np.int8),
        quantity=quantity,
        revenue=quantity * charged,
        cost=np.zeros((days, units), dtype=np.int32),
        events=events,
        late=rng.binomial(events, 0.01),
        corrected=rng.random((days, units)) < 0.01,
        live=np.full((days, units), -1, dtype=np.int8),
        out_of_stock=(rng.random((days, units)) < 0.02).astype(np.int8),
        stale_hours=np.full((days, units), np.nan, dtype=np.float32),
    )


def lose(days: UnitDays, gone: NDArray[np.bool_], *, as_zeros: bool = False) -> None:
    """Cells of which nothing arrives: missing, or zeros where the product names listed units without a sale."""
    for part in (days.quantity, days.revenue, days.events, days.late):
        part[gone] = 0
    days.corrected[gone] = False
    if not as_zeros:
        days.observed[gone] = False
        days.unseen[gone] = Unseen.UNOBSERVED


def store_outages(rng: Rng, days: UnitDays, share: float = 0.02) -> NDArray[np.bool_]:
    """(T, U) stores that are out for one to five days, so often that this share of store-days is lost."""
    rows = len(days.state)
    out = np.zeros((rows, CLUSTERS), dtype=np.bool_)
    for row, store in np.argwhere(rng.random((rows, CLUSTERS)) < share / 3.0):
        out[row : row + int(rng.integers(1, 6)), store] = True
    return out[:, days.cluster]


def by_chance(rng: Rng, days: UnitDays, share: float) -> NDArray[np.bool_]:
    """(T, U) of the treated cells, each with the same chance."""
    return np.asarray((days.state == 1) & (rng.random(days.state.shape) < share))


def lose_pieces(rng: Rng, days: UnitDays, share: float) -> None:
    """Pieces of treated cells that are lost within sales that arrive."""
    treated = days.state == 1
    kept = rng.binomial(days.quantity[treated], 1.0 - share)
    each = np.divide(days.revenue[treated], days.quantity[treated], out=np.zeros(len(kept)), where=kept > 0)
    days.quantity[treated] = kept
    days.revenue[treated] = np.rint(each * kept).astype(np.int64)


def lose_events(rng: Rng, days: UnitDays, share: float) -> None:
    """Whole sale events of treated cells, with their pieces and money."""
    treated = days.state == 1
    events, quantity = days.events[treated], days.quantity[treated]
    kept = rng.binomial(events, 1.0 - share)
    share_kept = np.divide(kept, events, out=np.zeros(len(kept)), where=events > 0)
    pieces = kept + rng.binomial(np.maximum(quantity - events, 0), share_kept)
    each = np.divide(days.revenue[treated], quantity, out=np.zeros(len(kept)), where=quantity > 0)
    days.events[treated], days.quantity[treated] = kept, pieces
    days.revenue[treated] = np.rint(each * pieces).astype(np.int64)
    days.late[treated] = np.minimum(days.late[treated], kept)


def delay(rng: Rng, days: UnitDays, share: float) -> None:
    """Sales of treated cells that arrive after their day was closed."""
    treated = days.state == 1
    days.late[treated] = rng.binomial(days.events[treated], share)


def sell_out(rng: Rng, days: UnitDays, share: float) -> None:
    """Treated shelves that are empty from noon on: half of the day's sales are not made."""
    empty = by_chance(rng, days, share)
    days.out_of_stock[empty] = 1
    before = days.quantity[empty]
    for part in (days.events, days.quantity):
        part[empty] = rng.binomial(part[empty], 0.5)
    days.quantity[empty] = np.maximum(days.quantity[empty], days.events[empty])
    each = np.divide(days.revenue[empty], before, out=np.zeros(len(before)), where=before > 0)
    days.revenue[empty] = np.rint(each * days.quantity[empty]).astype(np.int64)
    days.late[empty] = np.minimum(days.late[empty], days.events[empty])
