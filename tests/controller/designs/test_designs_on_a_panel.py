"""Three designs on one simulated panel: what a design costs, and where random days go wrong."""

import pytest

from benchmarks.controller.designs import Row, table


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.design: row for row in table(300)}


@pytest.mark.slow
def test_a_crossover_halves_the_error_of_a_time_bound_experiment_and_random_days_go_lower(
    rows: dict[str, Row],
) -> None:
    # Monte-Carlo error of a ratio of two standard deviations from 300 panels: about 4 % of it
    assert 0.45 <= rows["crossover"].ratio <= 0.65
    assert rows["random_days"].ratio <= 0.40


@pytest.mark.slow
def test_an_effect_that_comes_late_biases_random_days_and_not_a_crossover(rows: dict[str, Row]) -> None:
    assert rows["random_days"].bias_late < -0.3
    assert abs(rows["crossover"].bias_late) < 3 * rows["crossover"].bias_late_error
    assert abs(rows["random_days"].bias) < 0.01
