"""What a number means, said in a sentence."""

import pytest

from analysis.panel_data.estimands import Estimand


def test_an_estimand_says_for_how_long_treatment_is_held() -> None:
    estimand = Estimand("margin", "EUR per unit-day", carryover_order=2)
    assert str(estimand) == (
        "average effect on margin of treatment held for 3 days against control, in EUR per unit-day"
    )


def test_a_relative_estimand_has_no_unit() -> None:
    assert str(Estimand("sales", "pieces", 0, "relative")).endswith(
        "on the day itself against control, relative to control"
    )


def test_a_negative_carryover_order_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="carryover_order = -1"):
        Estimand("sales", "pieces", -1)
