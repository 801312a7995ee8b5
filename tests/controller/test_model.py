"""The controller against its promises, under whatever order of ticks, sleeps, blackouts, kills and requests.

5,000 steps by default; FLIPSIDE_MODEL_STEPS=200000 makes it a night's run.
"""

import os
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from controller.blackout import binding
from controller.control import Action, Kill
from controller.errors import InvalidExperiment
from controller.events import Blackout, Scope
from controller.lifecycle import Lifecycle
from controller.parameters import Limits
from controller.periods import day_start, local_day
from controller.price_rules import static_breach
from controller.registration import register
from tests.controller.builders import START, a_catalog, an_experiment
from tests.controller.world import World

BY_DAY = 5000
STEPS = int(os.environ.get("FLIPSIDE_MODEL_STEPS", str(BY_DAY)))
STEPS_A_RUN = 50
CHICAGO = "America/Chicago"
HOUR = timedelta(hours=1)
LIMITS = Limits(max_changes_a_week=2, max_change_percent=Decimal(12), lowest_price_factor=Decimal("1.05"))
DESIGNS: list[dict[str, Any]] = [
    {},
    {"design": {"kind": "time_bound"}},
    {"design": {"kind": "crossover", "washout_days": 1}},
    {"design": {"kind": "blocked_switchback", "block_days": 3, "burn_in_days": 1}},
    {"design": {"kind": "staggered_rollout", "steps": ({"day": 1, "share": "1/4"}, {"day": 4, "share": "3/4"})}},
]
NAMES = st.sampled_from(["a", "b", "c"])
MARKETS = st.sampled_from(["m0", "m1"])
ACTIONS: list[Action] = ["pause", "resume", "freeze", "unfreeze", "stop", "kill", "revert", "archive"]


class Controller(RuleBasedStateMachine):
    """Three owners, two markets, four units."""

    steps = 0
    reached: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.world = World(day_start(START, CHICAGO) - 30 * HOUR, a_catalog(2, 2))
        self.ends: dict[str, tuple[str, ...]] = {}
        self.seen_changes = 0

    @rule(
        name=NAMES,
        design=st.sampled_from(DESIGNS),
        after=st.integers(0, 4),
        markets=st.sampled_from([("m0",), ("m1",), ("m0", "m1")]),
        limits=st.sampled_from([LIMITS, Limits()]),
        seed=st.integers(0, 99),
    )
    def register(
        self, name: str, design: dict[str, Any], after: int, markets: tuple[str, ...], limits: Limits, seed: int
    ) -> None:
        Controller.steps += 1
        if name in self.world.lives:
            return
        units = tuple(u for u in self.world.units() if u[:2] in markets)
        start = local_day(self.world.now, CHICAGO) + timedelta(days=after)
        proposed = an_experiment(name=name, units=units, start=start, days=8, seed=str(seed), limits=limits, **design)
        others = [life.experiment for life in self.world.lives.values() if life.state != "archived"]
        before = dict(self.world.lives)
        try:
            experiment = register(proposed, self.world.catalog, others, self.world.now)
        except InvalidExperiment:
            assert self.world.lives == before
            return
        self.world.lives[name] = Lifecycle(experiment)
        assert self.world.ask(name, "submit")

    @rule(minutes=st.sampled_from([20, 60, 720, 1440, 2880, 4320]))
    def tick(self, minutes: int) -> None:
        Controller.steps += 1
        until = self.world.now + timedelta(minutes=minutes)
        while self.world.now < until:
            self.world.now = min(until, self.world.now + HOUR / 2)
            self.world.tick()

    @rule(hours=st.sampled_from([1, 10, 30, 80]))
    def sleep(self, hours: int) -> None:
        Controller.steps += 1
        self.world.now += hours * HOUR

    @rule(
        kind=st.sampled_from(["global", "market", "unit"]),
        market=MARKETS,
        ahead=st.integers(2, 60),
        hours=st.integers(1, 60),
    )
    def announce_a_blackout(self, kind: str, market: str, ahead: int, hours: int) -> None:
        Controller.steps += 1
        name = {"global": "", "market": market, "unit": f"{market}/p0"}[kind]
        self.world.blackouts.append(
            Blackout(
                id=f"b{len(self.world.blackouts)}",
                scope=Scope(kind=kind, name=name),  # type: ignore[arg-type]
                starts_at=self.world.now + ahead * HOUR,
                ends_at=self.world.now + (ahead + hours) * HOUR,
                reason="x",
            )
        )

    @rule(name=NAMES, action=st.sampled_from(ACTIONS))
    def ask(self, name: str, action: Action) -> None:
        Controller.steps += 1
        if name in self.world.lives:
            self.world.ask(name, action)

    @rule(scope=st.sampled_from(["all", "market", "experiment"]), lifted=st.booleans())
    def pull_or_lift_a_kill_switch(self, scope: str, lifted: bool) -> None:
        Controller.steps += 1
        name = {"all": "", "market": "m0", "experiment": "a"}[scope]
        self.world.kill(
            Kill(id=scope, scope=scope, name=name, lifted=lifted, who="x", why="x", requested_at=self.world.now)  # type: ignore[arg-type]
        )

    # --- the promises ---

    @invariant()
    def one_price_at_any_instant(self) -> None:
        if not hasattr(self, "world"):
            return
        for unit, leases in self.world.held.items():
            instants = [lease.effective_at for lease in leases]
            assert instants == sorted(instants), unit
            for before, after in pairwise(leases):
                # Leases of two experiments never overlap; an experiment's later word replaces its earlier one.
                if before.experiment != after.experiment and before.arm != 0:
                    assert before.expires_at is None or before.expires_at <= after.effective_at

    @invariant()
    def nothing_changes_in_a_blackout_and_no_price_leaves_its_limits(self) -> None:
        if not hasattr(self, "world"):
            return
        fresh, self.seen_changes = self.world.changed[self.seen_changes :], len(self.world.changed)
        for change in fresh:
            lease = self.world.holding(change.unit, change.at)
            assert lease is not None
            experiment = self.world.lives[lease.experiment].experiment
            if not change.urgent:
                announced = [
                    b for b in self.world.blackouts if b.starts_at > self.world.now or change.at >= b.starts_at
                ]
                assert binding(announced, change.unit, change.unit, change.at) is None
                assert change.at == day_start(local_day(change.at, CHICAGO), CHICAGO)
            if lease.arm == 0:
                continue
            entry = self.world.catalog[change.unit]
            control = experiment.control.price.price_minor(entry.list_price_minor)
            assert static_breach(experiment.limits, entry, control, lease.price_minor) is None
            most = experiment.limits.max_changes_a_week
            if most is not None:
                week = [c for c in self.world.history(change.unit) if change.at - 7 * 24 * HOUR < c.at <= change.at]
                assert len(week) + 1 <= most, "the change and the way back"

    @invariant()
    def killed_and_stopped_units_are_on_control(self) -> None:
        if not hasattr(self, "world"):
            return
        for name, life in self.world.lives.items():
            for market, units in life.experiment.units_by_market().items():
                if self.world._killed(name, market) is None and life.state not in ("draft", "archived"):
                    continue
                for unit in units:
                    lease = self.world.holding(unit, self.world.now)
                    assert lease is None or lease.experiment != name or lease.arm == 0

    @invariant()
    def no_day_is_delivered_twice_or_both_delivered_and_missed(self) -> None:
        if not hasattr(self, "world"):
            return
        assert all(times == 1 for times in Counter(self.world.delivered).values())
        missed = {
            (m.experiment, m.market, m.first_day + timedelta(days=k))
            for m in self.world.undelivered
            for k in range((m.last_day - m.first_day).days + 1)
        }
        assert not missed & set(self.world.delivered)

    def teardown(self) -> None:
        """In the end, each planned day of an experiment that ran to its end was delivered once or reported missed."""
        if not hasattr(self, "world"):
            return
        never_killed = all(kill.lifted for kill in self.world.kills)
        self.world.kills.clear()
        for _ in range(48 * 40):
            self.world.now += HOUR / 2
            self.world.tick()
            lives = self.world.lives.items()
            plans = [self.world.plans.get((n, m)) for n, life in lives for m in life.experiment.units_by_market()]
            if all(plan is not None and plan.released for plan in plans):
                break
        told: Counter[tuple[str, str, object]] = Counter(self.world.delivered)
        for m in self.world.undelivered:
            days = (m.last_day - m.first_day).days + 1
            told.update((m.experiment, m.market, m.first_day + timedelta(days=k)) for k in range(days))
        for name, life in self.world.lives.items():
            finished = any(change.action == "finish" for change in life.history)
            uninterrupted = {change.action for change in life.history} <= {"submit", "begin", "finish", "washed_out"}
            if finished and uninterrupted and never_killed:
                for market in life.experiment.units_by_market():
                    days = {life.experiment.start + timedelta(days=k) for k in range(life.experiment.days)}
                    assert {d for n, m, d in told if (n, m) == (name, market)} == days
        Controller.reached.update(self.world.reached)
        Controller.reached.update({"changed": len(self.world.changed), "missed": len(self.world.undelivered)})
        Controller.reached["at once"] += sum(change.urgent for change in self.world.changed)
        assert [day for day, times in told.items() if times != 1] == []


@pytest.mark.timeout(max(300, STEPS // 50))
def test_the_controller_keeps_its_promises() -> None:
    Controller.steps = 0
    rounds = 0
    while Controller.steps < STEPS:
        run_state_machine_as_test(
            Controller,
            settings=settings(
                max_examples=(STEPS - Controller.steps) // STEPS_A_RUN + 30,
                stateful_step_count=STEPS_A_RUN,
                deadline=None,
                # A counter-example is told as it was found: its steps are few, and shrinking them takes minutes.
                phases=[Phase.explicit, Phase.generate],
                database=None,
                # The same steps each time by day, new ones each night.
                derandomize=STEPS <= BY_DAY,
                suppress_health_check=list(HealthCheck),
            ),
        )
        rounds += 1
        assert rounds < 20, f"{Controller.steps} steps only"
    rare = {what: Controller.reached[what] for what in ("kept by a limit", "kept by a blackout", "missed", "at once")}
    assert all(times >= STEPS / BY_DAY for times in rare.values()), rare
    assert Controller.reached["changed"] >= STEPS / 50, Controller.reached
