"""Roll-outs and triggered entries: a panel estimate beside the design-based one, labelled, never instead of it."""

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pytest

from analysis.observational.panel_estimate import estimate_panel
from analysis.observational.running_estimate import panel_of
from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Finding, due, job_of, key, mark_of
from benchmarks.randomised.worlds import interval
from controller.definition.experiment import Experiment
from controller.definition.parameters import StaggeredRollout, Step
from controller.messages.events import OBSERVATIONAL, Estimate
from tests.analysis.traffic import experiment, history


def rollout(*steps: tuple[int, str]) -> Experiment:
    design = StaggeredRollout(
        kind="staggered_rollout", steps=tuple(Step(day=day, share=Decimal(share)) for day, share in steps)
    )
    return experiment(markets=12, days=30, design=design)


IN_STEPS = rollout((15, "0.25"), (22, "0.5"))


def findings(definition: Experiment, effect: float = -0.2) -> list[Finding]:
    ledger = Ledger()
    for message in history(definition, effect):
        ledger.fold(message)
    return list(due(ledger, {}))


@pytest.fixture(scope="module")
def in_steps() -> list[Finding]:
    return findings(IN_STEPS)


def last(found: Iterable[Finding], estimator: str | None = None, metric: str = "units") -> Estimate:
    return [
        one
        for one in found
        if isinstance(one, Estimate)
        and one.metric == metric
        and (one.estimator == OBSERVATIONAL) == (estimator is not None)
    ][-1]


def test_a_roll_out_gets_a_labelled_panel_estimate_beside_the_design_based_one(in_steps: list[Finding]) -> None:
    designed, observed = last(in_steps), last(in_steps, OBSERVATIONAL)
    assert observed.through == designed.through
    assert observed.settings["label"] == "observational"
    assert observed.settings["method"] == "sdid"
    assert "label" not in designed.settings
    assert observed.absolute is not None
    low, high = interval(observed.absolute)
    assert low < observed.absolute.value < high
    assert observed.absolute.value < 0
    assert observed.relative is not None
    low, high = interval(observed.relative)
    assert -1 < low < observed.relative.value < high < 0
    assert observed.anytime is None
    assert observed.significant is None
    assert observed.anytime_reason_absent is not None


def test_its_number_is_that_of_the_panel_of_cluster_means(in_steps: list[Finding]) -> None:
    ledger = Ledger()
    for message in history(IN_STEPS, effect=-0.2):
        ledger.fold(message)
    (study,) = ledger.studies.values()
    through = ledger.horizon(study)
    assert through is not None
    ledger.settle(study, through)
    job = job_of(ledger, study, through, {})
    assert job is not None
    observed = last(in_steps, OBSERVATIONAL)
    panel = panel_of(job.last, "units", 1)
    assert panel.outcome.shape == (12, 30)
    assert (panel.arm == 1).sum() == 3 * 16 + 3 * 9
    direct = estimate_panel(panel, "sdid", rng=np.random.default_rng(0))
    assert observed.absolute is not None
    assert observed.absolute.value == direct.effect
    assert observed.absolute.se == direct.se
    assert direct.effect is not None
    without = panel.outcome[panel.arm == 1].mean() - direct.effect
    assert observed.relative is not None
    assert observed.relative.value == pytest.approx(direct.effect / without)


def test_before_anybody_is_treated_it_is_absent_with_its_reason(in_steps: list[Finding]) -> None:
    first = next(one for one in in_steps if isinstance(one, Estimate) and one.estimator == OBSERVATIONAL)
    assert first.absolute is None
    assert first.reason_absent is not None
    assert "no usable cell is treated" in first.reason_absent


def test_a_roll_out_to_everybody_at_once_leaves_no_controls_and_no_number() -> None:
    observed = last(findings(rollout((15, "1"))), OBSERVATIONAL)
    assert observed.absolute is None
    assert observed.reason_absent is not None
    assert "no unit is never treated" in observed.reason_absent


def test_designs_whose_days_are_drawn_get_none() -> None:
    assert all(one.estimator != OBSERVATIONAL for one in findings(experiment(days=4)) if isinstance(one, Estimate))


def test_after_a_restart_only_what_is_newer_is_published(in_steps: list[Finding]) -> None:
    published, again = {key(one): mark_of(one) for one in in_steps}, Ledger()
    for message in history(IN_STEPS, effect=-0.2):
        again.fold(message)
    assert not [one for one in due(again, published) if isinstance(one, Estimate)]
