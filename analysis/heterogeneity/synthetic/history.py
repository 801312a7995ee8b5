"""A history that resembles a shop's without being it: factors, copulas, and few parameters that can be read.

With z the logarithm of pieces and one half, p the logarithm of the price, s a store, k a product, t a period:

    z_skt = level_sk + slope_sk t + weekday_t + m_kt + load_sk (m_kt - mean m_k)     what is foretold
            + elasticity_k n_skt + spread_sk e_skt + lean_k r_st + share_skt l_st
    p_skt = price_sk + h_kt + n_skt,    m_kt = f_kt + elasticity_k h_kt

1. Levels, slopes, mean prices, loads and spreads of a store are one vector. Products keep their means; the stores'
   deviations from them are mixed by a random rotation, which keeps their covariance.
2. The elasticity of a product is estimated within units.
3. f and h are what a product does in all stores (promotions, seasons): means over stores, which tell what the chain
   did week by week, and are kept, so that promotions fall where they fell. With ``shocks="redrawn"`` they are drawn
   anew and more is lost: autoregressions in normal scores whose correlation between products is the source's, taken to
   the source's quantiles, which is a Gaussian copula.
4. n and e likewise, correlated among all of a store. Quantiles are a product's in periods of like m: where the chain
   promotes, the stores that do not join stand out, elsewhere those that promote alone.
5. A store's total is a series r of its own: an autoregression with the spreads of stores and periods, less what it
   takes back of a foretold swing (a promotion takes sales from the store's other products). l moves the store's
   products, most those of which it sells most (share: the square of foretold sales over the largest), until r is met.
6. Pieces are rounded; which cells are missing is what some other store's were.

No cell of the source is copied. What is kept and what is lost is measured by `moments.py`.
"""

from typing import Literal

import numpy as np

from analysis.heterogeneity.synthetic.copulas import (
    autoregression,
    correlation,
    independent,
    like_columns,
    normal_scores,
    onto,
    rotated,
    series,
)
from analysis.heterogeneity.synthetic.parts import Parts, take_apart
from analysis.heterogeneity.synthetic.sold import (
    Sold,
    log_totals,
    mean_by,
    sum_by_store,
    without_means,
    without_trend,
)
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

Shocks = Literal["redrawn", "kept"]
#: groups of periods of like m, and the values that each quantile function needs
LIKE_PERIODS, VALUES = 8, 100
#: Newton's steps until the stores' totals are met; the largest change of z in one, and in all
STEPS, LARGEST_STEP, LARGEST = 12, 1.0, 6.0


def synthesize(sold: Sold, rng: np.random.Generator, shocks: Shocks = "kept") -> Sold:
    """A synthetic history of the same units and periods; deterministic for a generator.

    Raises:
        NotEstimable: a history too short, or too few stores.

    """
    parts = take_apart(sold)
    store, product, time = sold.store, sold.product, sold.time
    level, slope, price_level, load, log_spread, store_spread = _units(parts, sold, rng)
    moves = parts.product_shock, parts.product_price, parts.period_spread
    if shocks == "redrawn":
        several = like_columns(np.column_stack(moves), rng)
        k = sold.products
        moves = several[:, :k], several[:, k : 2 * k], several[:, -1]
    shock, product_price, period_spread = moves
    m = shock + parts.elasticity * product_price
    price_noise, noise = _noise(parts, m, sold, rng)
    # a mean over stores took one store's worth of their luck
    scale = (sold.stores / (sold.stores - 1)) ** 0.5
    swing = (m - m.mean(axis=0))[:, product]
    foretold = level + slope * time + parts.weekday[sold.weekdays][:, None] + m[:, product] + load * swing
    own = without_trend(parts.elasticity[product] * price_noise + scale * np.exp(log_spread) * noise)
    spreads = np.exp(mean_by(store_spread[None], store, sold.stores) + period_spread[:, None])
    missing = _missing(sold, rng)
    sums = log_totals(foretold, ~missing, sold)
    total = parts.beta * without_means(sums) + scale * spreads * independent(parts.total, rng)
    own = own + parts.lean[product] * total[:, store]
    short = total - without_means(log_totals(foretold + own, ~missing, sold) - sums)
    z = foretold + without_trend(own + _until_met(foretold, own, short, ~missing, sold))
    # a product that always sold something goes on doing so
    least = np.array([np.nanmin(sold.quantity[:, product == k], initial=np.inf) for k in range(sold.products)])
    least = np.where(np.isfinite(least), np.minimum(least, 1.0), 0.0)[product]
    quantity = np.where(missing, np.nan, np.maximum(np.round(np.exp(z) - 0.5), least))
    price = None
    if sold.price is not None:
        price = np.where(missing, np.nan, np.exp(price_level + product_price[:, product] + price_noise))
    return Sold(store, product, quantity, price, sold.period_days, sold.first_weekday)


def _units(parts: Parts, sold: Sold, rng: np.random.Generator) -> FloatArray:
    """(6, U) rows of `Parts.units`, and the logarithm of the spread of the store's total, of other stores.

    Products' means stay. A product that a store does not have is there what the store's others are on average.
    """
    source = np.vstack([parts.units, parts.store_spread[sold.store]])
    of_product = mean_by(source, sold.product, sold.products)[:, sold.product]
    rest = source - of_product
    each = np.repeat(mean_by(rest, sold.store, sold.stores)[:, None, :], sold.products, axis=1)
    each[:, sold.product, sold.store] = rest
    drawn = rotated(each.reshape(-1, sold.stores), rng).reshape(each.shape)
    return np.asarray(of_product + drawn[:, sold.product, sold.store])


def _noise(parts: Parts, m: FloatArray, sold: Sold, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """(T, U) n and e. ``m``: (T, K) of the synthetic history."""
    periods, products, stores = len(m), sold.products, sold.stores
    groups = max(1, min(LIKE_PERIODS, periods * stores // VALUES))
    before = _like_periods(parts.product_shock + parts.elasticity * parts.product_price, groups)
    after = _like_periods(m, groups)
    sources = [parts.price_noise, parts.noise]
    scores = [_by_group(source, source, before, before, sold) for source in sources]
    stacked = np.full((periods, stores, 2 * products), np.nan)
    for half, score in enumerate(scores):
        stacked[:, sold.store, half * products + sold.product] = score
    lower = np.linalg.cholesky(correlation(stacked.reshape(-1, 2 * products)))
    latent = np.stack(
        [series(autoregression(score), periods, stores, rng) for score in scores for _ in range(products)], axis=2
    )
    latent = latent @ lower.T
    price_noise, noise = (
        _by_group(source, latent[:, sold.store, half * products + sold.product], before, after, sold)
        for half, source in enumerate(sources)
    )
    return price_noise, noise


def _like_periods(m: FloatArray, groups: int) -> IntArray:
    """(T, K) group of each period, from the lowest m of the product to its highest."""
    ranks = m.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.asarray(ranks * groups // len(m))


def _by_group(source: FloatArray, values: FloatArray, before: IntArray, after: IntArray, sold: Sold) -> FloatArray:
    """(T, U) by product and group of periods: normal scores of ``source``, or ``values`` taken to its quantiles."""
    found = np.full(source.shape, np.nan)
    for product in range(sold.products):
        units = np.flatnonzero(sold.product == product)
        for group in range(int(before.max()) + 1):
            of = source[np.ix_(np.flatnonzero(before[:, product] == group), units)]
            to = np.ix_(np.flatnonzero(after[:, product] == group), units)
            found[to] = normal_scores(of) if values is source else onto(values[to], of)
    return found


def _until_met(foretold: FloatArray, own: FloatArray, short: FloatArray, known: BoolArray, sold: Sold) -> FloatArray:
    """(T, U) what moves the logarithm of each store's total by ``short`` (T, S)."""
    pieces = np.where(known, np.exp(foretold + own), 0.0)
    target = sum_by_store(pieces, sold) * np.exp(short)
    share = np.where(known, np.exp(2.0 * foretold), 0.0)
    order = np.argsort(sold.store, kind="stable")
    starts = np.searchsorted(sold.store[order], np.arange(sold.stores))
    largest = np.maximum.reduceat(share[:, order], starts, axis=1)
    share = share / np.where(largest > 0, largest, 1.0)[:, sold.store]
    moved = np.zeros_like(short)
    for _ in range(STEPS):
        now = pieces * np.exp(np.clip(moved[:, sold.store] * share, -LARGEST, LARGEST))
        slope = sum_by_store(now * share, sold)
        step = np.divide(sum_by_store(now, sold) - target, slope, out=np.zeros_like(slope), where=slope > 0)
        moved = moved - np.clip(step, -LARGEST_STEP, LARGEST_STEP)
    return np.asarray(moved[:, sold.store] * share)


def _missing(sold: Sold, rng: np.random.Generator) -> BoolArray:
    """(T, U): what some other store's cells of the product were."""
    absent = ~np.isfinite(sold.quantity)
    found = absent.copy()
    order = rng.permutation(sold.stores)
    place = {(int(s), int(k)): unit for unit, (s, k) in enumerate(zip(sold.store, sold.product, strict=True))}
    for unit, (store, product) in enumerate(zip(sold.store, sold.product, strict=True)):
        other = place.get((int(order[store]), int(product)))
        if other is not None:
            found[:, unit] = absent[:, other]
    return found
