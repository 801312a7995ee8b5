"""A history taken apart into what is kept and what is drawn anew; the equation is `history.py`'s."""

from dataclasses import dataclass

import numpy as np

from analysis.heterogeneity.synthetic.sold import Sold, log_totals, mean_by, mean_known, without_means
from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: shorter histories have no autocorrelation to speak of, fewer stores no spread
LEAST_PERIODS, LEAST_STORES = 16, 4
TINY = 1e-8


@dataclass(frozen=True, slots=True)
class Parts:
    """Arrays as the equation names them."""

    #: (5, U): level, slope a period, mean log price (0 without prices), load, logarithm of the spread of e
    units: FloatArray
    #: (K,) by product
    elasticity: FloatArray
    #: (7,) weekday, zeros where periods are weeks
    weekday: FloatArray
    #: (T, K) what a product does in all stores, in pieces and in price
    product_shock: FloatArray
    product_price: FloatArray
    #: (T, U), NaN where nothing is known
    noise: FloatArray
    price_noise: FloatArray
    #: (T, S) a store's total beyond what is foretold, over both spreads
    total: FloatArray
    #: how much of a foretold swing of a store's total it takes back
    beta: float
    #: (K,) how far a product goes with its store's total
    lean: FloatArray
    #: (S,) logarithm of each store's spread, and (T,) of each period's
    store_spread: FloatArray
    period_spread: FloatArray


def take_apart(sold: Sold) -> Parts:
    """Estimate all parts.

    Raises:
        NotEstimable: a history too short, or too few stores.

    """
    periods, units = sold.quantity.shape
    if periods < LEAST_PERIODS:
        raise NotEstimable(
            f"{periods} periods: a synthetic history needs {LEAST_PERIODS} at least, to tell a trend and how long a "
            "week's luck lasts; give a longer history"
        )
    if sold.stores < LEAST_STORES:
        raise NotEstimable(
            f"{sold.stores} stores: stores are drawn anew with the spread of the source's, which {LEAST_STORES} at "
            "least have; with fewer a copy would be one of them"
        )
    z, p = sold.log_quantity, sold.log_price
    known, time, product = np.isfinite(z), sold.time, sold.product
    level = mean_known(z, 0)
    weekday = _weekday(sold, z - level)
    seasonal = weekday[sold.weekdays][:, None]
    mean_price = np.zeros(units)
    product_price, price_noise = np.zeros((periods, sold.products)), np.zeros((periods, units))
    if p is not None:
        mean_price = mean_known(p, 0)
        product_price = mean_by(p - mean_price, product, sold.products)
        price_noise = p - mean_price - product_price[:, product]
    elasticity = elasticities(sold)
    own_price = elasticity[product] * np.nan_to_num(price_noise)
    at_mean_price = z - level - seasonal - own_price - (elasticity * product_price)[:, product]
    slope = _slopes(at_mean_price, time)
    product_shock = mean_by(at_mean_price - slope * time, product, sold.products)
    moves = (product_shock + elasticity * product_price)[:, product]
    swing = moves - moves.mean(axis=0)
    rest = at_mean_price - slope * time - product_shock[:, product]
    load = _slopes(rest, swing)
    foretold = level + slope * time + seasonal + moves + load * swing
    beta, total = _totals(sold, z, foretold, known)
    store_spread = np.log(np.sqrt(np.maximum((total**2).mean(axis=0), TINY)))
    total = total / np.exp(store_spread)
    period_spread = np.log(np.sqrt(np.maximum((total**2).mean(axis=1), TINY)))
    total = total / np.exp(period_spread)[:, None]
    gap = beta * without_means(log_totals(foretold, known, sold)) + total * np.exp(
        store_spread + period_spread[:, None]
    )
    beyond = rest - load * swing
    lean = _by_product(beyond, gap[:, sold.store], sold)
    noise = beyond - lean[product] * gap[:, sold.store]
    noise = noise - mean_known(noise, 0)
    spread = np.sqrt(np.maximum(mean_known(noise**2, 0), TINY))
    return Parts(
        np.stack([level, slope, mean_price, load, np.log(spread)]),
        elasticity, weekday, product_shock, product_price, noise / spread, price_noise, total, beta, lean, store_spread,
        period_spread,
    )  # fmt: skip


def elasticities(sold: Sold) -> FloatArray:
    """(K,) slope of log pieces on log price within units, by product; 0 where a price never moved."""
    p, z = sold.log_price, sold.log_quantity
    if p is None:
        return np.zeros(sold.products)
    both = np.isfinite(p) & np.isfinite(z)
    p, z = np.where(both, p, np.nan), np.where(both, z, np.nan)
    return _by_product(z - mean_known(z, 0), p - mean_known(p, 0), sold)


def _by_product(values: FloatArray, on: FloatArray, sold: Sold) -> FloatArray:
    """(K,) slope of each product's values, through the origin; 0 where there is nothing to tell it by."""
    known = np.isfinite(values) & np.isfinite(on)
    x, y = np.where(known, on, 0.0), np.where(known, values, 0.0)
    up = np.bincount(sold.product, (x * y).sum(axis=0), sold.products)
    down = np.bincount(sold.product, (x * x).sum(axis=0), sold.products)
    return np.asarray(np.divide(up, down, out=np.zeros(sold.products), where=down > 1e-9))


def _totals(sold: Sold, z: FloatArray, foretold: FloatArray, known: BoolArray) -> tuple[float, FloatArray]:
    """Share of a foretold swing that is taken back, and (T, S) what the stores' totals are beyond."""
    sums = log_totals(foretold, known, sold)
    swing, total = without_means(sums), without_means(log_totals(z, known, sold) - sums)
    beta = float((total * swing).sum() / max(float((swing**2).sum()), TINY))
    return beta, total - beta * swing


def _slopes(values: FloatArray, on: FloatArray) -> FloatArray:
    """(U,) slope of each column through the origin, over what is known."""
    known = np.isfinite(values)
    up = np.where(known, values * on, 0.0).sum(axis=0)
    return np.asarray(up / np.maximum(np.where(known, on**2, 0.0).sum(axis=0), TINY))


def _weekday(sold: Sold, centred: FloatArray) -> FloatArray:
    found = np.zeros(7)
    if sold.period_days == 1:
        for day in range(7):
            if (sold.weekdays == day).any():
                found[day] = float(np.nanmean(centred[sold.weekdays == day]))
    return found
