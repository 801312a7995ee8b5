"""The whole product under faults: three brokers, three workers, clients and tills, and the verdict of every rule."""

from dataclasses import replace

import pytest

from tests.chaos.evidence.evidence import Evidence, Look
from tests.chaos.evidence.report import announced, summary, table
from tests.chaos.evidence.seen import every_input_moves_on
from tests.chaos.faults.nemesis import KINDS
from tests.chaos.faults.plant import SMALL, caught
from tests.chaos.faults.planted import BUGS
from tests.chaos.faults.scripts import all_away, at_random, in_turn, killed, rolling_restart
from tests.chaos.rules import judge
from tests.chaos.run import run
from tests.chaos.shop.setting import Setting

pytestmark = [pytest.mark.broker, pytest.mark.redis7, pytest.mark.timeout(600)]

#: what fits into a minute: one broker, which is not struck
SHORT = Setting(nodes=1, workers=2, clients=2, partitions=3, day_seconds=10.0, session_ms=3000, seed=20)
SHORT_KINDS = tuple(kind for kind in KINDS if kind != "broker")


def assert_nothing_broken(evidence: Evidence, setting: Setting) -> None:
    verdict = judge(evidence)
    assert not any(verdict.values()), "\n" + table(summary(evidence, verdict, setting.lease, setting.seed))


async def test_an_owner_killed_before_it_publishes_and_another_worker_before_it_folds_break_no_rule() -> None:
    """The short form for every day: the same places each time, so that it is red only where something is broken."""
    script = in_turn(
        lambda stage: killed(stage, "publish"),
        every_input_moves_on,
        lambda stage: killed(stage, "fold"),
        every_input_moves_on,
    )
    evidence, _ = await run(replace(SMALL, seed=20), script)
    assert_nothing_broken(evidence, SMALL)
    assert {fault.what for fault in evidence.faults} >= {"worker SIGKILL at publish", "worker SIGKILL at fold"}


# Not by day: which process is where when it is struck is chance, and what chance finds need not be today's change.
@pytest.mark.slow
async def test_struck_at_random_for_some_seconds_nothing_is_lost_doubled_or_shown_in_two_ways() -> None:
    evidence, _ = await run(SHORT, at_random(SHORT.seed, 0.25, SHORT_KINDS, every_seconds=1.0))
    assert_nothing_broken(evidence, SHORT)
    assert len({fault.what for fault in evidence.faults}) >= 3


@pytest.mark.slow
async def test_all_workers_killed_for_longer_than_a_lease_every_client_is_on_control_until_they_are_back() -> None:
    setting = Setting(day_seconds=12.0, seed=20)
    evidence, _ = await run(setting, in_turn(at_random(setting.seed, 0.15, every_seconds=1.0), all_away))
    assert_nothing_broken(evidence, setting)
    assert_control_while_away(evidence, setting)


def assert_control_while_away(evidence: Evidence, setting: Setting) -> None:
    """Every client is on control from the end of its leases until a worker is back, and follows again afterwards."""
    away = [fault for fault in evidence.faults if fault.what == "all workers SIGKILL"]
    began, ended = away[-1].began, away[-1].ended
    # A day announced when they were killed ends two midnights later at the latest: a lead, and the day itself.
    leases_end = began + (setting.lead_hours / 24 + 1) * setting.day_seconds
    meanwhile = [look for look in evidence.looks if leases_end <= look.real < ended]
    assert {look.client for look in meanwhile} >= {f"warm-{n}" for n in range(setting.clients)}
    assert {arm for look in meanwhile for arm in look.arms} <= {None, evidence.control}
    assert any(_treated(evidence, look) for look in evidence.looks if look.real < began)
    assert any(_treated(evidence, look) for look in evidence.looks if look.real > ended)


def _treated(evidence: Evidence, look: Look) -> bool:
    return any(arm not in (None, evidence.control) for arm in look.arms)


@pytest.mark.slow
async def test_three_workers_restarted_one_after_the_other_under_load_are_seen_by_no_client() -> None:
    # No clock is stepped here: pauses are measured, and what steps one slows its worker down.
    setting = Setting(sales_a_second=300.0, session_ms=10_000, seed=7, clock_can_be_stepped=False)
    evidence, _ = await run(setting, rolling_restart)
    assert_nothing_broken(evidence, setting)
    assert not [entry for entry in evidence.log if entry.kind == "flipside.undelivered.v1"]
    # What waits for an owner is announced so much later: the pause that a client sees.
    assert max(announced(evidence)) <= 5.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_two_minutes_of_faults_break_no_rule(seed: int) -> None:
    setting = Setting(seed=seed)
    evidence, _ = await run(setting, at_random(seed, 2.0))
    assert_nothing_broken(evidence, setting)


@pytest.mark.slow
@pytest.mark.parametrize("bug", list(BUGS))
def test_a_planted_bug_is_caught_by_a_rule_that_is_there_for_it(bug: str) -> None:
    assert BUGS[bug].caught_by & set(caught(bug))


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({bug.script for bug in BUGS.values()}))
def test_without_a_bug_the_same_faults_break_nothing(script: str) -> None:
    assert caught("", script=script) == []
