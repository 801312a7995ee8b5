"""Amounts are shown in the currency's own units: a cent more or less is what an experiment is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.definition.money import amount, major, minor_digits, money


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (349, "EUR", "3.49 EUR"),
        (5, "EUR", "0.05 EUR"),
        (349, "JPY", "349 JPY"),
        (349, "KWD", "0.349 KWD"),
        (123456, "CLF", "12.3456 CLF"),
        (-5, "USD", "-0.05 USD"),
        (0, "USD", "0.00 USD"),
        (10**12, "EUR", "10000000000.00 EUR"),
        (349, "ABC", "3.49 ABC"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert money(minor, currency) == text


def test_a_mean_may_have_digits_beyond_the_minor_unit_and_halves_go_away_from_zero() -> None:
    assert amount(349.25, "EUR", extra_digits=2) == "3.4925"
    assert (amount(0.5, "EUR"), amount(-0.5, "EUR"), amount(-0.2, "EUR")) == ("0.01", "-0.01", "0.00")


def test_what_is_no_number_is_refused_by_its_value() -> None:
    with pytest.raises(ValueError, match="minor = nan"):
        amount(float("nan"), "EUR")


@given(st.integers(-(10**15), 10**15), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_no_amount_loses_a_minor_unit_on_its_way_to_text(minor: int, currency: str) -> None:
    text = amount(minor, currency)
    assert int(text.replace(".", "")) == minor
    assert len(text.partition(".")[2]) == minor_digits(currency)


def test_a_mean_keeps_its_fractions_of_a_cent() -> None:
    assert major(-590.66, "USD") == pytest.approx(-5.9066)
    assert major(-590.66, "JPY") == -590.66
