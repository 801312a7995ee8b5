"""The exact test of an experiment, with redraws of its own design."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from analysis.panel_data.panel import Panel
from analysis.randomised.exact_test import exact_test
from analysis.randomised.randomisation_test import randomization_test
from controller.definition.experiment import Experiment, design_hash
from controller.errors import NotEstimable
from controller.schedule.calendar import calendar
from controller.schedule.redraw import redraws
from tests.analysis.traffic import experiment

PLAN = experiment(markets=8, products=2, days=10)


def panel_of(plan: Experiment, effect: float, seed: int) -> Panel:
    rng = np.random.default_rng(seed)
    drawn = calendar(plan)
    arm = np.repeat(drawn.arms, 2, axis=0).astype(np.int64)
    return Panel(
        units=tuple(sorted(plan.units)),
        periods=tuple(str(plan.start + timedelta(days=k)) for k in range(plan.days)),
        outcome=rng.normal(size=arm.shape) + effect * arm,
        arm=arm,
        clusters=tuple(unit.partition("/")[0] for unit in sorted(plan.units)),
    )


def test_it_is_the_test_of_cluster_days_against_redraws_that_follow_from_the_design_hash() -> None:
    panel = panel_of(PLAN, 0.5, 1)
    found = exact_test(panel, PLAN, count=399)
    means = panel.outcome.reshape(8, 2, 10).mean(axis=1)
    wanted = randomization_test(means, panel.arm[::2], redraws(PLAN, 399, design_hash(PLAN)))
    assert found.p == wanted.p
    assert found.effect == pytest.approx(wanted.effect)
    assert (found.lower, found.upper) == pytest.approx((wanted.lower, wanted.upper))


def test_an_effect_is_found_and_true_nulls_are_rejected_as_often_as_said() -> None:
    assert exact_test(panel_of(PLAN, 1.5, 2), PLAN, count=999).p < 0.01
    p = np.array(
        [exact_test(panel_of(PLAN.model_copy(update={"seed": f"s{k}"}), 0.0, k), PLAN, count=99).p for k in range(300)]
    )
    assert np.mean(p <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.1)


def test_days_and_clusters_that_are_not_the_experiments_are_named() -> None:
    panel = panel_of(PLAN, 0.0, 3)
    with pytest.raises(NotEstimable, match="m00/p0 is no cluster"):
        exact_test(replace(panel, clusters=None), PLAN)
    later = tuple(str(PLAN.start + timedelta(days=k + 5)) for k in range(10))
    with pytest.raises(NotEstimable, match="not running"):
        exact_test(replace(panel, periods=later), PLAN)
