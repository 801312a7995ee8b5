"""The product's whole way in memory, in short; the long form is ``make calibrate``."""

from datetime import timedelta

import numpy as np
import pytest

from benchmarks.randomised.whole_way import SETTINGS, START, published, rates, walk

EFFECT = -0.15
#: experiments of each setting; of 15 intervals of 95 % more than 4 miss less than once in a thousand times
RUNS, MISSES_ALLOWED = 3, 4


def test_intervals_hold_the_truth_through_the_whole_product_with_an_effect_and_without() -> None:
    for truth in (0.0, EFFECT):
        found = [walk(setting, truth, seed) for setting in SETTINGS.values() for seed in range(RUNS)]
        missed = sum(not one.low <= truth <= one.high for one in found)
        assert missed <= MISSES_ALLOWED, truth
        values = np.array([one.value for one in found])
        assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("name", SETTINGS)
def test_every_unit_day_of_the_whole_way_is_used_or_left_out_by_reason(name: str) -> None:
    setting = SETTINGS[name]
    last = max(published(setting, 0.0, 1)[0], key=lambda estimate: estimate.through or START)
    assert last.through == START + timedelta(days=setting.days - 1)
    unit_days = setting.stores * setting.products * (setting.before + setting.days)
    assert last.cells + sum(last.left_out.values()) == unit_days


def test_rates_carry_their_monte_carlo_error() -> None:
    found = [walk(SETTINGS["random days, 6 stores"], 0.0, seed) for seed in range(4)]
    for row in rates("here", 0.0, found):
        assert row.experiments == 4
        assert row.error == pytest.approx((row.rate * (1 - row.rate) / 4) ** 0.5)
