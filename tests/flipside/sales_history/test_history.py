"""A history as arrays: what graph and likeness are made of."""

import numpy as np
import pytest

from controller.messages.inputs import CatalogEntry
from flipside.sales_history.history import History, WeekOfSales, as_arrays


def sold(unit: str, packs: int, price_minor: int) -> WeekOfSales:
    return WeekOfSales(unit, packs, price_minor, cost_minor=None, rival=None, rival_price_minor=None)


def in_currency(currency: str) -> History:
    catalog = tuple(
        CatalogEntry(unit=unit, time_zone="UTC", currency=currency, list_price_minor=1) for unit in ("b/x", "a/x")
    )
    return History(catalog, ((sold("b/x", 3, 1250),), (sold("b/x", 0, 900), sold("a/x", 2, 400))), currency)


@pytest.mark.parametrize(("currency", "units_per_major"), [("USD", 100), ("JPY", 1), ("KWD", 1000)])
def test_prices_are_in_the_major_unit_of_the_currency(currency: str, units_per_major: int) -> None:
    expected = np.array([[np.nan, 1250], [400, 900]]) / units_per_major
    np.testing.assert_array_equal(as_arrays(in_currency(currency)).price, expected)


def test_a_unit_without_a_row_is_unknown_and_one_that_sold_nothing_is_zero() -> None:
    arrays = as_arrays(in_currency("EUR"))
    assert arrays.units == ("a/x", "b/x")
    np.testing.assert_array_equal(arrays.quantity, [[np.nan, 3], [2, 0]])


def test_a_part_of_a_history_keeps_its_currency() -> None:
    assert as_arrays(in_currency("JPY").part(1, 2)).price.tolist() == [[400.0, 900.0]]
