"""A history that resembles a shop's without being it: factors, copulas, and few parameters that can be read.

With z the logarithm of pieces and one half, p the logarithm of the price, s a store, k a product, t a period:

    z_skt = level_sk + slope_sk t + weekday_t + elasticity_k (p_skt - mean p_sk) + f_kt + g_st + spread_sk e_skt
    p_skt = price_sk + h_kt + n_skt

1. Levels, slopes, mean prices and spreads are a product's mean, a store's share and a remainder. Products keep theirs;
   stores and remainders are drawn anew, with the covariance of the source.
2. The elasticity of a product is estimated within units.
3. f and h are what a product does in all stores (promotions, seasons), g what a store does in all products. Each is an
   autoregression in normal scores whose correlation between products is the source's, taken to the source's quantiles:
   a Gaussian copula. f and h themselves are kept, so that promotions fall where they fell: means over stores, which
   tell what the chain did week by week. With ``shocks="redrawn"`` they are drawn anew too, and more is lost.
4. e and n likewise, correlated between the products of one store; each product has its own quantiles.
5. Pieces are rounded; which cells are missing is what some other store's were.

No cell of the source is copied. What is kept and what is lost is measured by `synthetic_moments.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm, rankdata

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from controller.errors import NotEstimable

Shocks = Literal["redrawn", "kept"]
#: lags of the autoregressions, and the periods that they take to forget where they began
LAGS, BURN_IN = 4, 100
#: points of a quantile function
QUANTILES = 401
#: shorter histories have no autocorrelation to speak of, fewer stores no spread
LEAST_PERIODS, LEAST_STORES = 16, 4


@dataclass(frozen=True, slots=True)
class Sold:
    """T periods of U units: what a synthetic history is made from, and what it is."""

    #: (U,) of each unit, numbered from 0
    store: IntArray
    product: IntArray
    #: (T, U) pieces, NaN where nothing is known
    quantity: FloatArray
    #: (T, U), NaN where nothing is known; None where there are none
    price: FloatArray | None
    #: days in a period: 1, or 7
    period_days: int
    #: weekday of the first period, 0 to 6, where periods are days
    first_weekday: int = 0

    @property
    def log_quantity(self) -> FloatArray:
        """(T, U) logarithm of pieces and one half."""
        return np.log(self.quantity + 0.5)

    @property
    def log_price(self) -> FloatArray | None:
        """(T, U)"""
        if self.price is None:
            return None
        return np.log(np.where(self.price > 0, self.price, np.nan))


@dataclass(frozen=True, slots=True)
class Parts:
    """A history taken apart; arrays as the module's equation names them."""

    #: (4, U): level, slope a period, mean log price (0 without prices), logarithm of the spread of e
    units: FloatArray
    #: (K,) by product
    elasticity: FloatArray
    #: (7,) weekday, zeros where periods are weeks
    weekday: FloatArray
    #: (T, K), (T, S), (T, U) of unit spread, and the price's (T, K), (T, U)
    product_shock: FloatArray
    store_shock: FloatArray
    noise: FloatArray
    product_price: FloatArray
    price_noise: FloatArray


def take_apart(sold: Sold) -> Parts:
    """Estimate all parts.

    Raises:
        NotEstimable: a history too short, or too few stores.

    """
    periods, units = sold.quantity.shape
    stores, products = int(sold.store.max()) + 1, int(sold.product.max()) + 1
    if periods < LEAST_PERIODS:
        raise NotEstimable(
            f"{periods} periods: a synthetic history needs {LEAST_PERIODS} at least, to tell a trend and how long a "
            "week's luck lasts; give a longer history"
        )
    if stores < LEAST_STORES:
        raise NotEstimable(
            f"{stores} stores: stores are drawn anew with the spread of the source's, which {LEAST_STORES} at least "
            "have; with fewer a copy would be one of them"
        )
    z, p = sold.log_quantity, sold.log_price
    time = (np.arange(periods) - (periods - 1) / 2)[:, None]
    level = _mean(z, 0)
    weekday = _weekday(sold, z - level)
    z = z - level - weekday[_weekdays(sold)][:, None]
    mean_price = np.zeros(units)
    product_price, price_noise = np.zeros((periods, products)), np.zeros((periods, units))
    elasticity = np.zeros(products)
    if p is not None:
        known = np.isfinite(p)
        mean_price = np.where(known.any(axis=0), _mean(p, 0), 0.0)
        within = np.where(known, p - mean_price, 0.0)
        elasticity = elasticities(sold)
        product_price = _by(np.where(known, p - mean_price, np.nan), sold.product, products)
        price_noise = np.where(known, p - mean_price - product_price[:, sold.product], np.nan)
        z = z - elasticity[sold.product] * within
    seen = np.isfinite(z)
    slope = np.where(seen, z * time, 0.0).sum(axis=0) / np.maximum(np.where(seen, time**2, 0.0).sum(axis=0), 1e-12)
    z = z - slope * time
    product_shock = _by(z, sold.product, products)
    z = z - product_shock[:, sold.product]
    store_shock = _by(z, sold.store, stores)
    z = z - store_shock[:, sold.store]
    spread = np.sqrt(np.maximum(_mean(z**2, 0), 1e-8))
    return Parts(
        np.stack([level, slope, mean_price, np.log(spread)]),
        elasticity, weekday, product_shock, store_shock, z / spread, product_price, price_noise,
    )  # fmt: skip


def elasticities(sold: Sold) -> FloatArray:
    """(K,) slope of log pieces on log price within units, by product; 0 where a price never moved."""
    products = int(sold.product.max()) + 1
    p, z = sold.log_price, sold.log_quantity
    if p is None:
        return np.zeros(products)
    both = np.isfinite(p) & np.isfinite(z)
    p, z = np.where(both, p, np.nan), np.where(both, z, np.nan)
    x, y = np.nan_to_num(p - _mean(p, 0)), np.nan_to_num(z - _mean(z, 0))
    up = np.bincount(sold.product, (x * y).sum(axis=0), products)
    down = np.bincount(sold.product, (x * x).sum(axis=0), products)
    return np.asarray(np.divide(up, down, out=np.zeros(products), where=down > 1e-9))


def synthesize(sold: Sold, rng: np.random.Generator, shocks: Shocks = "kept") -> Sold:
    """A synthetic history of the same units and periods; deterministic for a generator.

    Raises:
        NotEstimable: as `take_apart`.

    """
    parts = take_apart(sold)
    periods, units = sold.quantity.shape
    drawn = _units(parts.units, sold, rng)
    if shocks == "kept":
        product_shock, product_price = parts.product_shock, parts.product_price
    else:
        several = np.concatenate([parts.product_shock, parts.product_price], axis=1)
        redrawn = _redrawn(several, rng)
        products = parts.product_shock.shape[1]
        product_shock, product_price = redrawn[:, :products], redrawn[:, products:]
    store_shock = _independent(parts.store_shock, rng)
    noise = _within_stores(parts.noise, sold, rng)
    price_noise = _within_stores(parts.price_noise, sold, rng) if sold.price is not None else np.zeros((periods, units))
    time = (np.arange(periods) - (periods - 1) / 2)[:, None]
    moved = product_price[:, sold.product] + price_noise
    z = drawn[0] + drawn[1] * time + parts.weekday[_weekdays(sold)][:, None]
    z = z + parts.elasticity[sold.product] * (moved - moved.mean(axis=0))
    luck = store_shock[:, sold.store] + np.exp(drawn[3]) * noise
    # levels and slopes were estimated with luck in them: without its own they keep their spread
    # and what all stores did, their mean, took one store's worth of it
    stores = store_shock.shape[1]
    luck = luck * (stores / (stores - 1)) ** 0.5
    own = luck - luck.mean(axis=0) - time * ((time * luck).sum(axis=0) / (time**2).sum())
    luck = own * (float((luck**2).mean()) / max(float((own**2).mean()), 1e-12)) ** 0.5
    z = z + product_shock[:, sold.product] + luck
    missing = _missing(sold, rng)
    # a product that always sold something goes on doing so
    least = np.array(
        [np.nanmin(sold.quantity[:, sold.product == k], initial=np.inf) for k in range(len(parts.elasticity))]
    )
    least = np.where(np.isfinite(least), np.minimum(least, 1.0), 0.0)[sold.product]
    quantity = np.where(missing, np.nan, np.maximum(np.round(np.exp(z) - 0.5), least))
    price = None
    if sold.price is not None:
        price = np.where(missing, np.nan, np.exp(drawn[2] + moved))
    return Sold(sold.store, sold.product, quantity, price, sold.period_days, sold.first_weekday)


def _weekdays(sold: Sold) -> IntArray:
    days = (sold.first_weekday + np.arange(len(sold.quantity))) % 7
    return days if sold.period_days == 1 else np.zeros(len(sold.quantity), dtype=np.int64)


def _weekday(sold: Sold, centred: FloatArray) -> FloatArray:
    found = np.zeros(7)
    if sold.period_days == 1:
        days = _weekdays(sold)
        for day in range(7):
            if (days == day).any():
                found[day] = float(np.nanmean(centred[days == day]))
    return found


def _mean(values: FloatArray, axis: int) -> FloatArray:
    seen = np.isfinite(values)
    count = seen.sum(axis=axis)
    return np.asarray(np.where(seen, values, 0.0).sum(axis=axis) / np.maximum(count, 1))


def _by(values: FloatArray, label: IntArray, groups: int) -> FloatArray:
    """(T, U) -> (T, G) means over units; 0 where none is known."""
    return np.stack([_mean(values[:, label == g], 1) for g in range(groups)], axis=1)


def _units(source: FloatArray, sold: Sold, rng: np.random.Generator) -> FloatArray:
    """(4, U) drawn anew: products' means stay, stores' shares and remainders have the source's covariance."""
    products, stores = int(sold.product.max()) + 1, int(sold.store.max()) + 1
    of_product = _by(source, sold.product, products)
    rest = source - of_product[:, sold.product]
    of_store = _by(rest, sold.store, stores)
    remainder = rest - of_store[:, sold.store]
    drawn = of_product[:, sold.product] + _like(of_store, rng)[:, sold.store]
    for product in range(products):
        which = sold.product == product
        drawn[:, which] += _like(remainder[:, which], rng)
    return drawn


def _like(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(d, n) normal draws with the mean and the covariance of the source, to the last digit where n > d."""
    centre = source.mean(axis=1, keepdims=True)
    cloud: FloatArray = rng.standard_normal(source.shape)
    cloud -= cloud.mean(axis=1, keepdims=True)
    n = source.shape[1]
    if n > source.shape[0] + 1:
        cloud = np.asarray(np.linalg.solve(np.linalg.cholesky(cloud @ cloud.T / n), cloud), dtype=np.float64)
    spread = source - centre
    values, vectors = np.linalg.eigh(spread @ spread.T / n)
    found: FloatArray = centre + (vectors * np.sqrt(np.maximum(values, 0.0))) @ (vectors.T @ cloud)
    return found


def _scores(values: FloatArray) -> FloatArray:
    """(T, n) normal scores of each column; NaN stays."""
    found = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        seen = np.isfinite(values[:, column])
        if seen.sum() > 1:
            found[seen, column] = norm.ppf((rankdata(values[seen, column]) - 0.5) / seen.sum())
    return found


def _autoregression(scores: FloatArray) -> FloatArray:
    """(LAGS,) Yule and Walker's coefficients, pooled over columns; pairs with a missing value are left out."""
    filled, seen = np.nan_to_num(scores), np.isfinite(scores).astype(np.float64)
    covariance = []
    for lag in range(LAGS + 1):
        ahead, behind = slice(lag, None), slice(None, len(scores) - lag)
        pairs = float((seen[ahead] * seen[behind]).sum())
        covariance.append(float((filled[ahead] * filled[behind]).sum()) / max(pairs, 1.0))
    if covariance[0] <= 0:
        return np.zeros(LAGS)
    index = np.abs(np.subtract.outer(np.arange(LAGS), np.arange(LAGS)))
    lags = np.array(covariance)
    system = lags[index] + 1e-6 * lags[0] * np.eye(LAGS)
    return np.asarray(np.linalg.solve(system, lags[1:]))


def _correlation(scores: FloatArray) -> FloatArray:
    """(n, n) of columns over the rows in which both are known, shrunk towards none by n over rows, positive."""
    filled, seen = np.nan_to_num(scores), np.isfinite(scores).astype(np.float64)
    pairs = np.maximum(seen.T @ seen, 1.0)
    covariance = filled.T @ filled / pairs
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    found = covariance / np.outer(scale, scale)
    share = scores.shape[1] / (scores.shape[1] + float(pairs.max()))
    found = (1.0 - share) * found + share * np.eye(len(found))
    values, vectors = np.linalg.eigh(found)
    return np.asarray((vectors * np.maximum(values, 1e-6)) @ vectors.T)


def _run(coefficients: FloatArray, shocks: FloatArray) -> FloatArray:
    """(T, n) autoregressions of (BURN_IN + T, n) shocks, each scaled to the spread that it has in the long run."""
    state = np.zeros_like(shocks)
    for t in range(LAGS, len(shocks)):
        state[t] = shocks[t] + coefficients @ state[t - LAGS : t][::-1]
    kept = state[BURN_IN:]
    return np.asarray(kept / max(float(np.sqrt((kept**2).mean())), 1e-9))


def _onto(latent: FloatArray, source: FloatArray) -> FloatArray:
    """Normal scores taken to the quantiles of all known values of ``source``, between which they are interpolated."""
    known = np.sort(source[np.isfinite(source)])
    if not known.size:
        return np.zeros(latent.shape)
    at = norm.cdf(latent)
    # dense in the tails, where a few values make the difference
    grid = norm.cdf(np.linspace(-3.5, 3.5, QUANTILES))
    return np.asarray(np.interp(at, grid, np.quantile(known, grid)))


def _redrawn(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, n) series with the source's correlation between columns, autocorrelation and quantiles of each column."""
    scores = _scores(source)
    lower = np.linalg.cholesky(_correlation(scores))
    latent = _run(_autoregression(scores), rng.standard_normal((BURN_IN + len(source), source.shape[1])) @ lower.T)
    return np.stack([_onto(latent[:, k], source[:, k]) for k in range(source.shape[1])], axis=1)


def _independent(source: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, n) series of one autocorrelation and one quantile function, each column on its own."""
    scores = _scores(source)
    latent = _run(_autoregression(scores), rng.standard_normal((BURN_IN + len(source), source.shape[1])))
    return _onto(latent, source)


def _within_stores(source: FloatArray, sold: Sold, rng: np.random.Generator) -> FloatArray:
    """(T, U) series correlated between the products of one store; quantiles by product."""
    products, stores = int(sold.product.max()) + 1, int(sold.store.max()) + 1
    periods = len(source)
    scores = _scores(source)
    stacked = np.full((stores * periods, products), np.nan)
    for unit, (store, product) in enumerate(zip(sold.store, sold.product, strict=True)):
        stacked[store * periods : (store + 1) * periods, product] = scores[:, unit]
    lower = np.linalg.cholesky(_correlation(stacked))
    shocks = rng.standard_normal((stores, BURN_IN + periods, products)) @ lower.T
    own = shocks[sold.store, :, sold.product].T
    latent = _run(_autoregression(scores), own)
    found = np.empty_like(source)
    for product in range(products):
        which = sold.product == product
        found[:, which] = _onto(latent[:, which], source[:, which])
    return found


def _missing(sold: Sold, rng: np.random.Generator) -> BoolArray:
    """(T, U): what some other store's cells of the product were."""
    absent = ~np.isfinite(sold.quantity)
    found = absent.copy()
    order = rng.permutation(int(sold.store.max()) + 1)
    place = {(int(s), int(k)): unit for unit, (s, k) in enumerate(zip(sold.store, sold.product, strict=True))}
    for unit, (store, product) in enumerate(zip(sold.store, sold.product, strict=True)):
        other = place.get((int(order[store]), int(product)))
        if other is not None:
            found[:, unit] = absent[:, other]
    return found
