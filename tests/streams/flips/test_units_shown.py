"""What the units of a shard show, and why: also when every worker was away over a midnight."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from controller.decisions.roster import roster
from controller.definition.experiment import Experiment
from controller.schedule.due import MarketPlan
from streams.flips.market_state import state_of
from streams.flips.shard import Shard, key_of_plan
from streams.flips.units_shown import UnitsShown, pause_after
from streams.runtime.settings import Settings
from streams.store import Registration, Store
from streams.worker.last_line import Suspended
from streams.worker.metrics import Metrics
from streams.worker.services import Parts
from streams.worker.shard_metrics import oversee
from tests.streams.builders import at, experiment, flip, window

A, B = "de/a", "de/b"


@dataclass
class Told:
    at: datetime

    def now(self) -> datetime:
        return self.at

    def at_brokers(self, instant: datetime) -> datetime:
        return instant


@dataclass
class Look:
    """A shard as its owner holds it, and what its units show at an instant."""

    parts: Parts
    shard: Shard

    async def at(self, day: float) -> dict[str, float]:
        parts = replace(self.parts, clock=Told(at(day)))
        await UnitsShown(parts, self.shard).look()
        return {why: self.sample("units", why=why) for why in ("assigned", "control", "blackout", "lapsed", "unknown")}

    def sample(self, name: str, **labels: str) -> float:
        found = self.parts.metrics.registry.get_sample_value(f"flipside_{name}", labels)
        assert found is not None, name
        return found

    def decided(self, day: int, released: bool = False) -> None:
        (laid_out,) = self.shard.rosters.values()
        self.shard.plans[key_of_plan(laid_out, "de")] = MarketPlan(at(day).date(), released)

    def lease(self, day: float) -> float:
        oversee(self.parts.metrics, self.shard.number, [], state_of(self.parts, self.shard, at(day)).leases(), at(day))
        return self.sample("lease_remaining_seconds")


def owner_of(store: Store, run: Experiment) -> Look:
    """Whoever has just taken the shard of the market over."""
    log = structlog.get_logger()
    parts = Parts(Settings(partitions=2), Told(at(0)), store, cast(Any, None), Metrics(), log, "one")
    laid_out = replace(roster(run), time_zones={"de": "UTC"})
    registration = Registration(run, laid_out.design_hash, "running")
    number = parts.shard_of("de")
    shard = Shard(number, 1, 0, cast(Any, None), cast(Any, None), [], Suspended(number, 1), version=1)
    shard.rosters[run.name], shard.registrations[run.name] = laid_out, registration
    return Look(parts, shard)


@pytest.fixture
def owner(store: Store) -> Look:
    return owner_of(store, experiment())


async def test_units_are_counted_by_why_they_show_what_they_show(owner: Look) -> None:
    store, shard = owner.parts.store, owner.shard.number
    await store.flip(shard, 1, flip({A: 1, B: 0}))
    owner.decided(0)
    nobody = {"assigned": 0, "control": 0, "blackout": 0, "lapsed": 0, "unknown": 0}
    assert await owner.at(-0.5) == nobody, "it has not begun"
    assert await owner.at(0.5) == nobody | {"assigned": 1, "control": 1}
    await store.put_blackout(window("freeze", "unit", A, 0.6, 0.8))
    assert await owner.at(0.7) == nobody | {"blackout": 1, "control": 1}
    assert await owner.at(20) == nobody, "it is over"


async def test_all_workers_away_over_a_midnight_are_lapsed_units_a_log_line_and_undelivered_days_at_once(
    owner: Look,
) -> None:
    await owner.parts.store.flip(owner.shard.number, 1, flip({A: 1, B: 0}))
    owner.decided(0)
    with capture_logs() as logged:
        shown = await owner.at(2.5)
    assert (shown["lapsed"], shown["assigned"]) == (2, 0)
    assert owner.sample("undelivered_market_days_total") == 2, "the days that have begun: nobody waits for the next one"
    assert owner.sample("undecided_market_days") == 2
    (line,) = [line for line in logged if line["event"] == "units lapsed"]
    assert (line["units"], line["since"], line["markets"]) == (2, str(at(1)), ["de"])
    with capture_logs() as logged:
        await owner.at(2.6)
    assert [line for line in logged if line["event"] == "units lapsed"] == [], "said once"
    assert owner.sample("undelivered_market_days_total") == 2


async def test_what_lapsed_stays_lapsed_until_what_is_decided_for_tomorrow_takes_effect(owner: Look) -> None:
    store, shard = owner.parts.store, owner.shard.number
    await store.flip(shard, 1, flip({A: 1, B: 0}))
    owner.decided(0)
    await owner.at(1.5)
    await store.flip(shard, 1, flip({A: 1, B: 0}, day=2))
    owner.decided(2)
    assert (await owner.at(1.99))["lapsed"] == 2
    assert (await owner.at(2.01))["lapsed"] == 0


async def test_an_owner_that_comes_when_tomorrow_is_decided_does_not_guess_what_holds_today(owner: Look) -> None:
    await owner.parts.store.flip(owner.shard.number, 1, flip({A: 1, B: 0}, day=1))
    owner.decided(1)
    assert (await owner.at(0.99))["unknown"] == 2


async def test_units_for_which_nobody_ever_decided_are_lapsed_from_the_first_day_on(owner: Look) -> None:
    assert (await owner.at(0.5))["lapsed"] == 2


async def test_the_lease_tells_no_experiment_from_all_lapsed(owner: Look) -> None:
    assert owner.lease(-1) == float("inf")
    owner.decided(0)
    assert owner.lease(0.5) == pytest.approx(timedelta(hours=12).total_seconds())
    assert owner.lease(2) == pytest.approx(-timedelta(days=1).total_seconds()), "so long have they lapsed"
    owner.decided(8)
    assert owner.lease(10) == float("inf"), "the experiment is over: nothing is to follow"
    owner.decided(3, released=True)
    assert owner.lease(5) == float("inf")


async def test_experiments_are_counted_by_state_and_a_killed_one_has_no_lapsed_units(store: Store) -> None:
    owner = owner_of(store, experiment())
    known = owner.shard.registrations["juice"]
    owner.shard.registrations["juice"] = replace(known, state="paused")
    assert (await owner.at(0.5))["lapsed"] == 0
    assert owner.sample("experiments", state="paused") == 1
    assert owner.sample("experiments", state="running") == 0


def test_what_lapses_is_counted_within_the_minute_however_long_a_count_takes() -> None:
    assert [pause_after(seconds) for seconds in (0.0, 0.1, 0.2, 3.0, 60.0)] == [10.0, 10.0, 20.0, 40.0, 40.0]
