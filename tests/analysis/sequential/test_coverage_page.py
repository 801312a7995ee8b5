"""The page of coverage is that of the committed figures; and relative looks are where a look rejects nothing."""

import json
from math import log, sqrt

import numpy as np
import pytest

from analysis.randomised.effects import effects, effects_by_target
from analysis.sequential.block_sums import BlockSum
from analysis.sequential.relative_sequences import relative_looks
from benchmarks.randomised.coverage import PAGE, RESULTS, batch, cell
from benchmarks.randomised.coverage_page import page
from benchmarks.randomised.simulated_shops import DESIGNS, WORLDS, shop_of

ALPHA = 0.05


def test_the_page_is_written_from_the_committed_figures() -> None:
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))


def test_every_committed_cell_covers_or_the_product_warns() -> None:
    for row in json.loads(RESULTS.read_text())["rows"]:
        for kind in ("absolute average", "relative average", "absolute total", "relative total"):
            # a run that publishes no relative effect misses nothing: misses are counted against all runs
            missed = (1 - row[kind]["rate"]) * row[kind]["of"] / row["runs"]
            assert missed <= 0.08, (row["design"], row["shop"], row["clusters"], kind)
        for kind in ("ever missed, absolute", "ever missed, relative"):
            assert row[kind]["rate"] is None or row[kind]["rate"] <= 0.05
        assert row["disagree"] == 0


@pytest.mark.parametrize("design", list(DESIGNS))
def test_both_targets_are_covered_in_shops_with_a_giant_and_own_effects(design: str) -> None:
    found = cell(batch((design, "all three", 10, -0.1, 99, 0, 40)))
    # 95 % less three Monte-Carlo errors of 3.4 points
    assert min(found[kind]["rate"] for kind in ("absolute average", "absolute total", "relative total")) >= 0.84
    assert found["disagree"] == 0
    assert found["warned"]["rate"] > 0.9


@pytest.mark.parametrize("design", list(DESIGNS))
def test_where_clusters_have_equally_many_units_the_total_responds_as_the_average_does(design: str) -> None:
    case = shop_of(design, WORLDS["base"], 10, -0.1, np.random.default_rng(7)).case
    every = effects_by_target(case, case.days)
    assert every["total"] == every["average"]
    weighed = effects(case, case.days, np.full(10, 5.0))
    assert every["average"].keys() == weighed.keys()
    for asked, (found, why) in every["average"].items():
        again, why_again = weighed[asked]
        assert why == why_again
        if found is not None and again is not None:
            assert (again.absolute.value, again.absolute.se) == pytest.approx(
                (found.absolute.value, found.absolute.se), rel=1e-9
            )


def test_a_relative_look_ends_where_the_sequence_of_that_effect_ends() -> None:
    rng, mixing = np.random.default_rng(4), 3.0
    blocks = [
        BlockSum(k, k, k, float(rng.normal(-1, 1)), (0.3, 0.4), (5, 5), float(rng.normal(12, 1)), 10, None,
                 (float(rng.uniform(0.2, 0.6)), 0.05, float(rng.uniform(0.2, 0.6))))
        for k in range(12)
    ]  # fmt: skip
    found = relative_looks(blocks, mixing, ALPHA, np.full(12, 4.0))
    for look in (0, 3, 11):
        some = blocks[: look + 1]
        total, base = sum(b.difference or 0.0 for b in some), sum(b.control_mean for b in some)
        treated, both, control = (sum(b.parts[k] for b in some) for k in range(3))

        def outside(rho: float, n: tuple[float, ...] = (total, base, treated, both, control)) -> bool:
            spread = n[2] - 2 * (1 + rho) * n[3] + (1 + rho) ** 2 * n[4]
            prior = mixing * (1 + (1 + rho) ** 2) / 2
            return abs(n[0] - rho * n[1]) > sqrt((spread + prior) * log((spread + prior) / (prior * ALPHA**2)))

        for side, away in ((found.low[look], -1e-7), (found.high[look], 1e-7)):
            assert outside(side + away)
            assert not outside(side - away)
