"""A shop whose products take sales from each other: for tests, planning, and to see what estimates should find.

Demand is log-linear in prices with a matrix of elasticities, as in the regressions of the graph; a nested logit is
one way to such a matrix. Shelves are finite, prices of the days before still act, and rivals follow.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.errors import NotEstimable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shop:
    """Units of one market, or of several: e[i, j] is 0 between units of different markets."""

    #: Mean sales a day at list prices; shape (units,).
    level: Floats
    #: e[i, j]: per cent more of i for a price of j one per cent higher; shape (units, units).
    elasticities: Floats
    #: Of log demand, a unit and day.
    noise_sd: float = 0.0
    #: Pieces on the shelf each morning; None: never sold out.
    stock: float | None = None
    #: Of what a sold-out unit could not sell, the share that its substitutes sell instead.
    diverted: float = 0.0
    #: Share of yesterday's effective price in today's: buyers remember.
    carryover: float = 0.0
    #: Rivals move their price of a product by this share of our move, a day later; what their price does to our sales.
    reaction: float = 0.0
    rival_elasticity: float = 0.0


@dataclass(frozen=True, slots=True)
class Sold:
    """What was sold; shapes (days, units)."""

    quantity: Floats
    sold_out: NDArray[np.bool_]


def play(shop: Shop, log_price: Floats, rng: np.random.Generator | None = None) -> Sold:
    """Sales under prices, day by day.

    Args:
        log_price: log of the price over the list price, shape (days, units).
        rng: of the noise; without it demand is its mean.
    """
    days, units = log_price.shape
    if shop.level.shape != (units,) or shop.elasticities.shape != (units, units):
        raise NotEstimable(f"prices of {units} units, but the shop has {len(shop.level)}: give one column a unit")
    noise = np.zeros((days, units)) if rng is None else rng.normal(0, shop.noise_sd, (days, units))
    cross = np.where(np.eye(units, dtype=bool), 0, np.maximum(shop.elasticities, 0))
    total = cross.sum(axis=0)
    takes = shop.diverted * np.divide(cross, total, out=np.zeros_like(cross), where=total > 0)
    effective, rival = np.zeros(units), np.zeros(units)
    quantity, sold_out = np.empty((days, units)), np.zeros((days, units), dtype=bool)
    for day in range(days):
        effective = shop.carryover * effective + (1 - shop.carryover) * log_price[day]
        # Less half the variance: noise leaves the mean where it is.
        noisy = noise[day] - (0 if rng is None else shop.noise_sd**2 / 2)
        demand = shop.level * np.exp(shop.elasticities @ effective + shop.rival_elasticity * rival + noisy)
        rival = shop.reaction * log_price[day]
        if shop.stock is None:
            quantity[day] = demand
            continue
        first = np.minimum(demand, shop.stock)
        quantity[day] = np.minimum(first + takes @ (demand - first), shop.stock)
        sold_out[day] = quantity[day] >= shop.stock
    return Sold(quantity, sold_out)


@dataclass(frozen=True, slots=True)
class Truth:
    """Mean effects over units and days, per unit-day: what the estimates are to find."""

    total: float
    direct: float
    spillover: float


def truth_of(shop: Shop, log_price: float, days: int, margin: tuple[float, float] | None = None) -> Truth:
    """Of a price that is `log_price` above the list price for so many days.

    Args:
        margin: list price and cost of a piece, for effects on profit; without it on pieces.
    """

    def value(own: bool, others: bool) -> Floats:
        sold = _mean_sold(shop, log_price * own, log_price * others, days)
        return sold if margin is None else sold * (margin[0] * np.exp(log_price * own) - margin[1])

    none = value(False, False)
    total, direct, spill = (
        float((value(*arms) - none).mean()) for arms in ((True, True), (True, False), (False, True))
    )
    return Truth(total, direct, spill)


def _mean_sold(shop: Shop, own: float, others: float, days: int) -> Floats:
    """Each unit's mean sales where its own price is moved by `own` and all others by `others`, without noise."""
    if own == others or shop.stock is not None:
        if own == others:
            sold = play(replace(shop, noise_sd=0.0), np.full((days, len(shop.level)), own)).quantity
            return np.asarray(sold.mean(axis=0))
        alone = np.full((days, len(shop.level)), others)
        found = np.empty(len(shop.level))
        for unit in range(len(found)):
            prices = alone.copy()
            prices[:, unit] = own
            found[unit] = play(replace(shop, noise_sd=0.0), prices).quantity[:, unit].mean()
        return found
    # Nobody is sold out, so that a unit's sales follow from its own row: no unit has to be played alone.
    diagonal = np.diag(shop.elasticities)
    moved = diagonal * own + (shop.elasticities.sum(axis=1) - diagonal) * others
    reached = 1 - shop.carryover ** np.arange(1, days + 1)
    rival = shop.rival_elasticity * shop.reaction * own * (np.arange(days) > 0)
    return np.asarray(shop.level * np.exp(reached[:, None] * moved + rival[:, None]).mean(axis=0))


def nested_logit(share: Floats, nest: NDArray[np.intp], price_slope: float, within: float) -> Floats:
    """Elasticities of a nested logit at list prices (Berry 1994, RAND 25, equations for one level of nests).

    Args:
        share: of all buyers, the outside good's being the rest; shape (units,).
        nest: shape (units,).
        price_slope: utility that one unit of log price costs; positive.
        within: 0 for a plain logit, towards 1 where buyers stay in their nest.

    Raises:
        NotEstimable: shares that leave nothing to the outside good, or `within` outside [0, 1).
    """
    if not 0 <= within < 1 or share.sum() >= 1 or (share <= 0).any():
        raise NotEstimable(
            f"within = {within}, shares from {share.min()} summing to {share.sum()}: within lies in [0, 1), shares are"
            " positive and leave some to those who buy nothing"
        )
    in_nest = share / np.bincount(nest, share)[nest]
    same = nest[:, None] == nest[None, :]
    cross = price_slope * (share[None, :] + same * within / (1 - within) * in_nest[None, :])
    own = price_slope * (share + within / (1 - within) * in_nest - 1 / (1 - within))
    return np.where(np.eye(len(share), dtype=bool), own[:, None], cross)
