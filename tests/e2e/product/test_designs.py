"""Each design through the whole system on real servers: no promise broken, every sale counted, the effect found."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.replays.replay_designs import DESIGNS, definition
from benchmarks.replays.whole_replays import Wanted, row_of
from controller.definition.experiment import Experiment
from controller.designs import design_of
from controller.designs.design import Block
from controller.messages.events import Assignment
from controller.time.periods import day_start
from flipside.checks.promises import check
from flipside.cli import app
from flipside.replay.environment import ReplayOptions, run_replay
from flipside.replay.progress import Result
from flipside.sales_history.history import read_history
from flipside.simulated_shop.demand import made_up_history
from tests.analysis.traffic import assignment, experiment, registered
from tests.parts.shared_kafka import SharedKafka

EFFECT = -0.10
#: weeks of the short replays: each phase of a crossover keeps two days after a washout of three
SHORT = 15


def assert_honest(result: Result) -> None:
    assert result.broken_promises == ()
    assert result.events_in == result.events_counted
    assert result.dead_lettered == 0
    assert result.flips > 0
    assert result.ci_low is not None
    assert result.ci_high is not None


@pytest.mark.broker
@pytest.mark.parametrize(
    ("name", "estimator", "left_out"),
    [
        ("crossover", "pre_period_difference", {"washout", "pre_period"}),
        ("blocked_switchback, burn-in", "cluster_day_difference", {"washout"}),
    ],
)
async def test_a_block_of_days_is_kept_to_and_its_first_days_and_those_before_the_start_are_not_compared(
    kafka: SharedKafka, redis_url: str, namespace: str, name: str, estimator: str, left_out: set[str]
) -> None:
    history = made_up_history(8, 2, SHORT, np.random.default_rng(3))
    options = ReplayOptions(
        EFFECT, "seed-1", kafka.address, redis_url, namespace, definition=definition(history, name, "seed-1")
    )
    result = await run_replay(history, options)
    assert_honest(result)
    last = max((e for e in result.estimates if e.metric == "units" and e.through), key=lambda e: str(e.through))
    assert last.estimator == estimator
    assert set(last.left_out) == left_out
    assert last.cells + sum(last.left_out.values()) == result.events_counted


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.broker
@pytest.mark.shared_data
@pytest.mark.parametrize("name", list(DESIGNS))
async def test_each_design_finds_the_planted_effect_in_40_weeks_of_real_sales(
    kafka: SharedKafka, redis_url: str, namespace: str, shared_data: Path, name: str
) -> None:
    history = read_history(shared_data / "orange_juice").first(40)
    chosen = definition(history, name, "seed-0")
    options = ReplayOptions(EFFECT, "seed-0", kafka.address, redis_url, namespace, definition=chosen)
    result = await run_replay(history, options)
    assert_honest(result)
    assert result.se is not None
    assert result.estimate is not None
    # one seed may miss its interval; four standard errors it misses once in 16,000
    assert abs(result.estimate - EFFECT) < 4 * result.se


def write_week(folder: Path, weeks: int) -> Path:
    (folder / "brands.csv").write_text("brand,ounces_per_pack\n1,64\n")
    rows = [f"{store},1,{week},640,0.05,30" for store in range(4) for week in range(weeks)]
    header = "store,brand,week,ounces,price_per_ounce,profit_percent"
    (folder / "sales.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("design", "says"),
    [
        ("{kind: crossover, washout_days: 7}", "design.washout_days 7 leaves nothing of phases of 4 days"),
        (
            "{kind: crossover, phases: [{first_day: 1, days: 9}, {first_day: 10, days: 9}]}",
            "design.phases end on day 18",
        ),
        ("{kind: time_bound, washout_days: 9}", "design.washout_days 9 leaves nothing of 8 weeks"),
        ("{kind: blocked_switchback, points: [1, 30]}", "design.points go to day 30"),
        (
            "{kind: staggered_rollout, steps: [{day: 9, share: 1/2}]}",
            "design.steps: the last one and its washout take 9",
        ),
        (
            "{kind: triggered, rule: {kind: undercut}, treatment_days: 9}",
            "design.treatment_days 9, but 8 weeks are left",
        ),
        ("{kind: random_days, weekday_balance: true}", "weekday balance needs 14 weeks, there are 12"),
    ],
)
def test_a_definition_that_does_not_fit_the_weeks_is_told_which_field_and_what_to_do(
    tmp_path: Path, design: str, says: str
) -> None:
    file = tmp_path / "design.yaml"
    file.write_text(
        "name: fit\ncurrency: USD\nclusters: market\narms: [{name: control}, {name: low, price: {percent: -10}}]\n"
        f"start: 2027-03-01\ndays: 42\nseed: s\ndesign: {design}\n"
    )
    found = CliRunner().invoke(app, ["replay", str(write_week(tmp_path, 12)), "--design", str(file)])
    assert found.exception is not None
    assert str(found.exception).startswith(says)


def test_whole_replays_count_misses_and_a_changed_definition_is_replayed_anew(tmp_path: Path) -> None:
    said = {"truth": -0.1, "estimate": -0.1, "se": 0.02, "ci_low": -0.14, "ci_high": -0.06, "violations": 0,
            "events_in": 9, "events_counted": 9, "seconds": 3.0}  # fmt: skip
    absent = said | {"estimate": None, "se": None, "ci_low": None, "ci_high": None}
    missing = said | {"ci_high": -0.11, "violations": 2, "events_counted": 8}
    row = row_of("crossover", [said, missing, absent])
    assert (row.replays, row.misses, row.without, row.violations, row.uncounted) == (3, 1, 1, 2, 1)
    file = tmp_path / "d.yaml"
    keys = set()
    for text, seed in (("a", "1"), ("b", "1"), ("b", "2"), ("b", "2")):
        file.write_text(text)
        keys.add(Wanted("d", file, seed, 40, -0.1).key)
    assert len(keys) == 3


def lease(plan: Experiment, day: date, arm: str, **more: Any) -> Assignment:
    """One unit's arm from a day to the end of its block."""
    block = design_of(plan).block_on(plan, day)
    assert block is not None
    ends = day_start(block.end, plan.time_zones()["m00"])
    return assignment(plan, "m00/p0", day, arm, expires_at=ends, block=block.index, **more)


def test_a_lease_over_a_block_may_be_renewed_each_day_but_not_with_another_arm() -> None:
    plan = experiment(markets=4, products=1, days=6, design={"kind": "blocked_switchback", "block_days": 3})
    drawn = plan.arms[design_of(plan).arms(plan, Block(0, plan.start, plan.end))["m00"]].name
    other = next(arm.name for arm in plan.arms if arm.name != drawn)
    days = [plan.start + timedelta(days=k) for k in range(2)]
    renewed = [lease(plan, day, drawn) for day in days]
    assert check(registered(plan), renewed, [])[1] == []
    changed = [renewed[0], lease(plan, days[1], other, planned_arm=drawn)]
    assert [violation.promise for violation in check(registered(plan), changed, [])[1]] == ["one price"]
