"""The simulated shop: what it is asked to do can be computed by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.panel_data.panel import FloatArray
from analysis.spillover.demand import Shop, nested_logit, play, truth_of
from controller.errors import NotEstimable

TWO = Shop(np.array([100.0, 50.0]), np.array([[-2.0, 0.5], [0.3, -1.0]]))
UP = np.log(1.1)


def test_a_dearer_product_sells_less_and_its_substitute_more() -> None:
    sold = play(TWO, np.array([[0.0, 0.0], [UP, 0.0]])).quantity
    np.testing.assert_allclose(sold, [[100, 50], [100 * 1.1**-2, 50 * 1.1**0.3]])


def test_noise_leaves_the_mean_where_it_is() -> None:
    sold = play(replace(TWO, noise_sd=0.5), np.zeros((20_000, 2)), np.random.default_rng(1)).quantity
    error = sold.std(axis=0) / 20_000**0.5
    assert (np.abs(sold.mean(axis=0) - TWO.level) < 4 * error).all()


def test_yesterdays_price_still_acts() -> None:
    sold = play(replace(TWO, carryover=0.5), np.array([[UP, 0.0], [0.0, 0.0], [0.0, 0.0]])).quantity
    np.testing.assert_allclose(sold[:, 0], 100 * 1.1 ** (-2 * np.array([0.5, 0.25, 0.125])))


def test_a_rival_follows_a_day_later() -> None:
    sold = play(replace(TWO, reaction=0.5, rival_elasticity=0.4), np.array([[UP, 0.0], [UP, 0.0]])).quantity
    np.testing.assert_allclose(sold[:, 0], [100 * 1.1**-2, 100 * 1.1 ** (-2 + 0.2)])


def test_an_empty_shelf_sells_its_stock_and_sends_buyers_to_the_substitute() -> None:
    found = play(replace(TWO, stock=80.0, diverted=0.5), np.zeros((1, 2)))
    np.testing.assert_allclose(found.quantity, [[80, 50 + 0.5 * 20]])
    assert found.sold_out.tolist() == [[True, False]]


@pytest.mark.parametrize("more", [{}, {"carryover": 0.3}, {"reaction": 0.5, "rival_elasticity": 0.2}])
def test_the_truth_is_what_playing_each_unit_alone_gives(more: dict[str, Any]) -> None:
    shop = replace(TWO, **more)
    fast, slow = truth_of(shop, UP, 5), truth_of(replace(shop, stock=1e9), UP, 5)
    np.testing.assert_allclose(
        (fast.total, fast.direct, fast.spillover), (slow.total, slow.direct, slow.spillover), atol=1e-9
    )


def test_a_nested_logits_elasticities_are_its_derivatives() -> None:
    rng = np.random.default_rng(3)
    utility, nest, slope, within = rng.normal(size=6), np.array([0, 0, 0, 1, 1, 2]), 2.0, 0.6

    def share(log_price: FloatArray) -> FloatArray:
        strength = np.exp((utility - slope * log_price) / (1 - within))
        nests = np.bincount(nest, strength)
        powers = nests ** (1 - within)
        found: FloatArray = strength / nests[nest] * powers[nest] / (1 + powers.sum())
        return found

    step = 1e-6
    moved = [(np.log(share(step * one)) - np.log(share(-step * one))) / (2 * step) for one in np.eye(6)]
    np.testing.assert_allclose(nested_logit(share(np.zeros(6)), nest, slope, within), np.array(moved).T, atol=1e-7)


def test_shares_that_leave_nothing_to_those_who_do_not_buy_are_refused() -> None:
    with pytest.raises(NotEstimable, match="leave some to those who buy nothing"):
        nested_logit(np.array([0.5, 0.5]), np.array([0, 0]), 1.0, 0.5)


def test_prices_of_other_units_are_refused() -> None:
    with pytest.raises(NotEstimable, match="one column a unit"):
        play(TWO, np.zeros((1, 3)))
