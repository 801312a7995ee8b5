"""A synthetic history keeps what it says it keeps, and copies nothing."""

import numpy as np
import pytest

from analysis.heterogeneity.synthetic.history import Shocks, synthesize
from analysis.heterogeneity.synthetic.moments import closest, moments
from analysis.heterogeneity.synthetic.parts import elasticities
from analysis.heterogeneity.synthetic.sold import Sold
from analysis.panel_data.panel import FloatArray
from controller.errors import NotEstimable

STORES, PRODUCTS, DAYS = 24, 5, 140
ELASTICITIES = np.linspace(-3.0, -1.0, PRODUCTS)
#: medians of the two halves' own distances are 2.2 % apart, of twelve stores each: nearness is told to twice that
HALVES_DIFFER = 0.956


def shop(seed: int = 0, stores: int = STORES, days: int = DAYS, mean: float = 30.0, missing: float = 0.03) -> Sold:
    """Days with a weekday, autocorrelated luck of products and stores, elasticities of -3 to -1, some missing cells."""
    rng = np.random.default_rng(seed)
    store, product = np.divmod(np.arange(stores * PRODUCTS), PRODUCTS)
    level = np.log(mean) + rng.normal(0, 0.5, PRODUCTS)[product] + rng.normal(0, 0.4, stores)[store]

    def luck(n: int, sd: float, keep: float = 0.6) -> FloatArray:
        state, out = np.zeros(n), np.empty((days, n))
        for t in range(days):
            state = keep * state + rng.normal(0, sd * np.sqrt(1 - keep**2), n)
            out[t] = state
        return out

    price = np.log(2.0) + 0.15 * luck(PRODUCTS, 1.0)[:, product] + 0.05 * luck(len(store), 1.0)
    z = (
        level
        + 0.25 * (np.arange(days) % 7 >= 5)[:, None]
        + luck(PRODUCTS, 0.2)[:, product]
        + luck(stores, 0.2)[:, store]
    )
    z = z + ELASTICITIES[product] * (price - np.log(2.0)) + luck(len(store), 0.25)
    quantity = rng.poisson(np.exp(z)).astype(float)
    quantity[rng.random(quantity.shape) < missing] = np.nan
    return Sold(store, product, quantity, np.exp(price), 1)


def test_moments_of_the_source_are_kept_but_for_two() -> None:
    source = shop()
    found = moments(source, synthesize(source, np.random.default_rng(1)))
    lost = [(one.name, round(one.error, 3)) for one in found if not one.kept]
    assert len(found) == 16
    assert len(lost) <= 2, lost


def test_rare_sales_keep_their_share_of_zeros() -> None:
    source = shop(mean=0.6)
    assert 0.3 < (source.quantity == 0).mean() < 0.7
    found = {one.name: one for one in moments(source, synthesize(source, np.random.default_rng(1)))}
    assert found["share of zeros"].error < 0.1


def test_price_responses_are_those_of_the_source() -> None:
    source = shop()
    drawn = synthesize(source, np.random.default_rng(2))
    assert elasticities(source) == pytest.approx(ELASTICITIES, abs=0.3)
    assert elasticities(drawn) == pytest.approx(elasticities(source), abs=0.3)


@pytest.mark.parametrize("shocks", ["kept", "redrawn"])
def test_no_series_of_the_source_is_nearer_to_a_copy_than_stores_are_to_each_other(shocks: Shocks) -> None:
    source = shop()
    drawn = synthesize(source, np.random.default_rng(3), shocks)
    halves = [np.flatnonzero(source.store % 2 == k) for k in (0, 1)]
    # among as many real series each: the closest of more would be closer
    copies = np.concatenate([closest(drawn, source, np.arange(len(source.store)), half) for half in halves])
    held_out = np.concatenate([closest(source, source, half, other) for half, other in (halves, halves[::-1])])
    for quantile in (0.05, 0.5):
        near, far = np.quantile(copies, quantile), np.quantile(held_out, quantile)
        assert near >= HALVES_DIFFER * far, (quantile, near, far)


def test_the_same_seed_gives_the_same_history_and_another_seed_another() -> None:
    source = shop(stores=6, days=40)
    one, same, other = (synthesize(source, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.quantity, same.quantity, equal_nan=True)
    assert not np.array_equal(one.quantity, other.quantity, equal_nan=True)


def test_pieces_are_whole_and_missing_cells_stay_about_as_many() -> None:
    source = shop()
    drawn = synthesize(source, np.random.default_rng(4))
    known = np.isfinite(drawn.quantity)
    assert (drawn.quantity[known] == np.round(drawn.quantity[known])).all()
    assert (drawn.quantity[known] >= 0).all()
    assert known.mean() == pytest.approx(np.isfinite(source.quantity).mean(), abs=0.005)


def test_a_history_that_is_too_short_or_has_too_few_stores_is_refused_with_the_reason() -> None:
    with pytest.raises(NotEstimable, match=r"10 periods: .* give a longer history"):
        synthesize(shop(days=10), np.random.default_rng(0))
    with pytest.raises(NotEstimable, match=r"3 stores: .* a copy would be one of them"):
        synthesize(shop(stores=3, days=40), np.random.default_rng(0))
