"""Running sequences: whole, valid at every look, moved by blocks only; and what cannot be said has a reason."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import combinations, product

import numpy as np
import pytest

from analysis.panel_data.ledger import Ledger
from analysis.sequential.block_sums import BlockPlan, Clusters, block_sum, clusters_of
from analysis.sequential.interim_analyses import variance_factor
from analysis.sequential.running_sequences import SPENT
from analysis.worker.analyse import due
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.definition.parameters import BlockedSwitchback, Crossover, RandomDays, StaggeredRollout, Step, TimeBound
from controller.messages.events import Estimate, UnitDay
from controller.messages.findings import RunningSequence
from tests.analysis.sequential.past_sales import DAY, with_past
from tests.analysis.traffic import START, closing, experiment, history, unit_day


def ledger_of(messages: Iterable[Message]) -> Ledger:
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    return ledger


def sequence(messages: Iterable[Message], metric: str = "units") -> RunningSequence:
    found = [f for f in due(ledger_of(messages), {}) if isinstance(f, RunningSequence) and f.metric == metric]
    assert len(found) == 1
    return found[0]


def test_over_every_draw_of_a_block_its_difference_is_right_and_its_variance_not_too_small() -> None:
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(6), 2)
    base = rng.lognormal(2, 1, (2, 12))
    effect = rng.normal(-0.2, 0.1, base.shape) * base
    forecast = rng.lognormal(2, 1, 12)
    plan = BlockPlan(0, np.arange(2), 0)
    found = []
    for treated in combinations(range(6), 3):
        arm = np.broadcast_to(np.isin(cluster, treated), base.shape)
        found.append(block_sum(plan, base + effect * arm, arm, forecast, clusters_of(cluster)))
    differences = np.array([one.difference for one in found])
    assert differences.mean() == pytest.approx(effect.mean(), abs=1e-12)
    assert np.mean([sum(one.arm_variance) for one in found]) >= differences.var()


def test_a_block_with_all_cells_has_neymans_variance() -> None:
    rng = np.random.default_rng(2)
    value = rng.normal(0, 1, (3, 8))
    arm = np.broadcast_to(np.arange(8) < 5, value.shape)
    found = block_sum(BlockPlan(0, np.arange(3), 0), value, arm, np.zeros(8), clusters_of(np.arange(8)))
    mean = value.mean(axis=0)
    assert sum(found.arm_variance) == pytest.approx(mean[:5].var(ddof=1) / 5 + mean[5:].var(ddof=1) / 3, rel=1e-12)


def test_over_every_path_of_two_days_a_forecast_from_the_first_does_no_harm_to_the_second() -> None:
    rng = np.random.default_rng(4)
    base, effect = rng.lognormal(2, 1, (2, 4)), rng.normal(-1, 1, (2, 4))
    halves = [np.isin(np.arange(4), chosen) for chosen in combinations(range(4), 2)]
    totals = []
    for first, second in product(halves, halves):
        seen = base + effect * np.stack([first, second])
        forecast = (seen[0] - seen[0].mean()) / 2
        plan = BlockPlan(1, np.array([1]), 1)
        found = block_sum(plan, seen[1:], second[np.newaxis], forecast, clusters_of(np.arange(4))).difference
        assert found is not None
        totals.append(found)
    assert np.mean(totals) == pytest.approx(effect[1].mean(), abs=1e-12)


def test_the_whole_sequence_is_published_and_its_last_look_stands_beside_the_estimate() -> None:
    definition = experiment(markets=8, days=6)
    messages = with_past(definition, 28)
    whole = sequence(messages)
    assert [look.last_day for look in whole.looks] == [START + k * DAY for k in range(6)]
    assert (whole.planned_looks, whole.planned_day, whole.reason_absent) == (6, START + 5 * DAY, None)
    estimates = [f for f in due(ledger_of(messages), {}) if isinstance(f, Estimate) and f.metric == "units"]
    for estimate, look in zip(estimates, whole.looks, strict=True):
        assert estimate.anytime is not None
        assert (estimate.anytime.value, estimate.anytime.ci_low, estimate.anytime.p) == (
            look.effect,
            look.ci_low,
            look.p,
        )
    widths = [
        look.ci_high - look.ci_low for look in whole.looks if look.ci_low is not None and look.ci_high is not None
    ]
    assert widths == sorted(widths, reverse=True)


def test_a_fixed_horizon_number_never_says_significant_before_its_day() -> None:
    definition = experiment(markets=12, days=8)
    estimates = [f for f in due(ledger_of(with_past(definition, 28, effect=-0.6)), {}) if isinstance(f, Estimate)]
    assert {e.horizon for e in estimates} == {"fixed"}
    assert {e.significant for e in estimates if e.through != definition.end - DAY} == {None}
    assert {e.significant for e in estimates if e.through == definition.end - DAY and e.metric == "units"} == {True}


def test_without_a_pre_period_the_first_block_is_spent_on_the_plan_and_said_to_be() -> None:
    whole = sequence(history(experiment(markets=8, days=4)))
    assert whole.blocks_left_out == {"0": SPENT}
    assert len(whole.looks) == 3


def test_a_look_comes_with_the_end_of_its_block_and_not_with_a_day() -> None:
    design = BlockedSwitchback(kind="blocked_switchback", block_days=3, burn_in_days=1)
    definition = experiment(markets=8, days=9, design=design, carryover_order=1)
    messages = with_past(definition, 28)
    for closed, looks in ((2, 0), (3, 1), (5, 1), (9, 3)):
        upto = [m for m in messages if getattr(m, "day", START) < START + closed * DAY]
        assert len(sequence(upto).looks) == looks, closed
    assert sequence(messages).left_out["washout"] == 3 * 16


def test_balanced_weekdays_are_one_draw_and_close_in_the_last_of_their_weeks() -> None:
    definition = experiment(markets=8, days=14, design=RandomDays(weekday_balance=True))
    whole = sequence(with_past(definition, 28))
    assert [look.last_day for look in whole.looks] == [START + k * DAY for k in range(7, 14)]
    assert [look.first_day for look in whole.looks] == [START + k * DAY for k in range(7)]


@pytest.mark.parametrize(
    "design",
    [TimeBound(kind="time_bound"), Crossover(kind="crossover", washout_days=1)],
    ids=["time-bound", "crossover"],
)
def test_where_one_draw_decides_all_there_is_one_look_at_the_end(design: TimeBound | Crossover) -> None:
    definition = experiment(markets=8, days=6, design=design)
    messages = with_past(definition, 28)
    early = sequence([m for m in messages if getattr(m, "day", START) < START + 5 * DAY])
    assert early.looks == ()
    assert early.reason_absent == "no block has closed yet: the first one does with 2026-03-07"
    assert len(sequence(messages).looks) == 1


def test_in_a_staggered_roll_out_those_who_enter_are_compared_with_those_who_have_yet_to() -> None:
    steps = tuple(Step(day=day, share=Decimal(share)) for day, share in ((1, "0.25"), (4, "0.5"), (7, "0.75")))
    definition = experiment(markets=16, days=9, design=StaggeredRollout(kind="staggered_rollout", steps=steps))
    whole = sequence(with_past(definition, 28))
    assert [(look.block, look.clusters_treated, look.clusters_control) for look in whole.looks] == [
        (1, 4, 12),
        (2, 4, 8),
        (3, 4, 4),
    ]


def test_a_roll_out_may_write_its_shares_as_fractions() -> None:
    steps = tuple(Step(day=day, share=share) for day, share in ((1, "1/4"), (4, "1/2"), (7, "3/4")))
    definition = experiment(markets=16, days=9, design=StaggeredRollout(kind="staggered_rollout", steps=steps))
    # By hand: (1 / entering + 1 / left) / 4, the mean over the steps, with a quarter entering each time.
    assert variance_factor(definition, 1) == pytest.approx(((4 + 4 / 3) + (4 + 2) + (4 + 4)) / 3 / 4)
    assert len(sequence(with_past(definition, 28)).looks) == 3


def nobody(definition: Experiment) -> list[Message]:
    return history(definition)


def all_the_same(definition: Experiment) -> list[Message]:
    return [unit_day(definition, m.unit, m.day, 5) if isinstance(m, UnitDay) else m for m in history(definition)]


BURN = BlockedSwitchback(kind="blocked_switchback", block_days=2, burn_in_days=2)
SHORT = BlockedSwitchback(kind="blocked_switchback", block_days=2)


@pytest.mark.parametrize(
    ("definition", "messages", "estimate", "running"),
    [
        (experiment(markets=1, days=4), nobody, "one cluster", "no closed block has two clusters"),
        (experiment(markets=8, days=1), nobody, "0 usable days|1 usable days", "the only block so far is spent"),
        (experiment(markets=8, days=4, design=BURN), nobody, "no usable cell", "no closed block has two clusters"),
        (experiment(markets=8, days=4), all_the_same, "outcomes are constant", "the outcomes do not vary"),
        (experiment(markets=4, days=6), nobody, None, "2 clusters in an arm"),
        (experiment(markets=8, days=4, design=SHORT, carryover_order=2), nobody, "no usable cell|usable days",
         "no block is longer than the carryover order"),
    ],
    ids=["one cluster", "one block", "all washed out", "constant", "two clusters an arm", "blocks too short"],
)  # fmt: skip
def test_what_cannot_be_said_has_its_reason_in_place_of_a_number(
    definition: Experiment, messages: object, estimate: str | None, running: str
) -> None:
    ledger = ledger_of(messages(definition))  # type: ignore[operator]
    found = list(due(ledger, {}))
    whole = next(f for f in found if isinstance(f, RunningSequence) and f.metric == "units")
    assert whole.looks == ()
    assert running in str(whole.reason_absent)
    last = [f for f in found if isinstance(f, Estimate) and f.metric == "units"][-1]
    assert last.anytime is None
    assert last.anytime_reason_absent == whole.reason_absent
    if estimate is not None:
        assert (last.absolute, last.relative, last.significant) == (None, None, None)
        assert any(part in str(last.reason_absent) for part in estimate.split("|")), last.reason_absent


def test_every_published_number_names_what_it_rests_on() -> None:
    definition = experiment(markets=8, days=4)
    for finding in due(ledger_of(with_past(definition, 28)), {}):
        assert finding.watermark is not None
        assert finding.offsets.keys() == {"0", "1"}
        assert len(finding.design_hash) == 64
        assert finding.code_version.startswith("flipside ")
        assert finding.settings["design"] == "random_days"
        assert (finding.through, finding.revision, finding.left_out) is not None


def test_a_late_sale_moves_the_looks_of_its_draw_and_of_later_ones_only() -> None:
    definition = experiment(markets=8, days=6)
    ledger = ledger_of(with_past(definition, 28))
    before = sequence_of(ledger)
    late = START + 3 * DAY
    ledger.fold(unit_day(definition, "m02/p1", late, 5000, revision=1, events=2))
    after = sequence_of(ledger)
    assert [look.difference for look in after.looks[:3]] == [look.difference for look in before.looks[:3]]
    assert all(a.difference != b.difference for a, b in zip(after.looks[3:], before.looks[3:], strict=True))
    at_once = ledger_of([*with_past(definition, 28), unit_day(definition, "m02/p1", late, 5000, revision=1, events=2)])
    assert sequence_of(at_once) == after


def sequence_of(ledger: Ledger) -> RunningSequence:
    return next(f for f in due(ledger, {}) if isinstance(f, RunningSequence) and f.metric == "units")


def test_a_day_that_one_market_has_not_closed_moves_nothing() -> None:
    definition = experiment(markets=8, days=2)
    messages = [m for m in history(definition) if m != closing(definition, "m03", START + DAY)]
    assert sequence(messages).through == START


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.99])
def test_a_day_of_units_that_are_clusters_is_summed_as_any_draw_of_any_clusters(missing: float) -> None:
    rng = np.random.default_rng(5)
    count = 40
    value = rng.lognormal(3.0, 1.0, (1, count))
    value[rng.random(value.shape) < missing] = np.nan
    in_arm, forecast = rng.random((1, count)) < 0.4, rng.normal(size=count)
    plan = BlockPlan(3, np.array([4]), 4)
    short = block_sum(plan, value, in_arm, forecast, Clusters(None, None))
    general = block_sum(plan, value, in_arm, forecast, Clusters(np.arange(count), np.arange(count)))
    for name in ("label", "first", "last", "clusters", "cells", "reason"):
        assert getattr(short, name) == getattr(general, name)
    assert (short.difference is None) == (missing == 0.99)
    assert short.difference == (None if general.difference is None else pytest.approx(general.difference))
    assert short.arm_variance == pytest.approx(general.arm_variance)
    assert short.control_mean == pytest.approx(general.control_mean)
