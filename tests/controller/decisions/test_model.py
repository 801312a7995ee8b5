"""The controller against its promises, under whatever order of ticks, sleeps, blackouts, kills and requests.

5,000 steps by default; FLIPSIDE_MODEL_STEPS=200000 makes it a night's run.
"""

import os
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from controller.decisions.lifecycle import AT_ONCE, OVER
from controller.definition.parameters import Limits
from controller.errors import IllegalTransition, InvalidExperiment
from controller.messages.control import Action, Kill
from controller.messages.inputs import Blackout, Scope
from controller.schedule.blackout import binding
from controller.time.periods import day_start, local_day
from controller.validation.price_rules import static_breach
from controller.validation.registration import register
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
ACTIONS: list[Action] = ["pause", "resume", "freeze", "unfreeze", "stop", "kill", "revert", "archive", "withdraw"]
#: a controller that has been awake for so long before an instant has decided what holds from then on
AHEAD = 2 * HOUR


class Controller(RuleBasedStateMachine):
    """Three owners, two markets, four units."""

    steps = 0
    reached: ClassVar[Counter[str]] = Counter()

    @initialize(design=st.sampled_from(DESIGNS), seed=st.integers(0, 99))
    def begin(self, design: dict[str, Any], seed: int) -> None:
        self.world = World(day_start(START, CHICAGO) - 3 * HOUR, a_catalog(2, 2))
        self.ends: dict[str, tuple[str, ...]] = {}
        self.seen_changes = 0
        self.awake_since = self.world.now
        first = an_experiment(name="a", units=tuple(self.world.units()), start=START, days=8, seed=str(seed), **design)
        self.world.register(register(first, self.world.catalog, [], self.world.now))
        self._stay_awake(360)

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
        known = self.world.lives.get(name)
        units = tuple(u for u in self.world.units() if u[:2] in markets)
        start = local_day(self.world.now, CHICAGO) + timedelta(days=after)
        version = 1 if known is None else known.experiment.version + 1
        proposed = an_experiment(
            name=name, units=units, start=start, days=8, seed=str(seed), limits=limits, version=version, **design
        )
        others = [life.experiment for life in self.world.lives.values() if life.state not in OVER]
        before = dict(self.world.lives)
        try:
            self.world.register(register(proposed, self.world.catalog, others, self.world.now))
        except (InvalidExperiment, IllegalTransition):
            assert self.world.lives == before
            return
        Controller.reached["registered"] += 1
        Controller.reached["next version"] += known is not None

    @rule(minutes=st.sampled_from([20, 60, 720, 1440, 2880, 4320]))
    def tick(self, minutes: int) -> None:
        Controller.steps += 1
        self._stay_awake(minutes)

    def _stay_awake(self, minutes: int) -> None:
        began, until = self.world.now, self.world.now + timedelta(minutes=minutes)
        while self.world.now < until:
            self.world.now = min(until, self.world.now + HOUR / 2)
            self.world.tick()
        self._no_lease_ran_out_in_a_blackout(max(began, self.awake_since + AHEAD), until)
        self._what_is_over_was_let_go_at_the_last_boundary()

    @rule(hours=st.sampled_from([1, 10, 30, 80]))
    def sleep(self, hours: int) -> None:
        Controller.steps += 1
        self.world.now += hours * HOUR
        self.awake_since = self.world.now

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

    @rule(name=NAMES)
    def stop_and_put_away(self, name: str) -> None:
        """As an owner does who wants to be rid of it: what is held is still to be let go."""
        Controller.steps += 1
        if name in self.world.lives and self.world.ask(name, "stop"):
            self._stay_awake(10)
            Controller.reached["put away"] += self.world.ask(name, "archive")
            self._stay_awake(1440)

    @rule(scope=st.sampled_from(["all", "market", "experiment"]), lifted=st.booleans())
    def pull_or_lift_a_kill_switch(self, scope: str, lifted: bool) -> None:
        Controller.steps += 1
        name = {"all": "", "market": "m0", "experiment": "a"}[scope]
        self.world.kill(
            Kill(id=scope, scope=scope, name=name, lifted=lifted, who="x", why="x", requested_at=self.world.now)  # type: ignore[arg-type]
        )

    # --- the promises ---

    def _no_lease_ran_out_in_a_blackout(self, after: datetime, until: datetime) -> None:
        """A lease that nobody renews is a change of price as well: a controller that is awake lets none run out."""
        for unit, leases in self.world.held.items():
            for lease in leases:
                ends = lease.expires_at
                if ends is None or not after < ends <= until or self.world.holding(unit, ends) is not None:
                    continue
                in_force = self.world.holding(unit, ends - timedelta(microseconds=1)) is lease
                if in_force and lease.price_minor != self.world.catalog[unit].list_price_minor:
                    assert binding(self.world.blackouts, unit, unit, ends) is None, (unit, lease)

    def _what_is_over_was_let_go_at_the_last_boundary(self) -> None:
        boundary = day_start(local_day(self.world.now, CHICAGO), CHICAGO)
        for name, life in self.world.lives.items():
            if life.state not in ("draft", *OVER):
                continue
            over = max(c.changed_at for c in life.history if c.from_state not in OVER)
            if max(over, self.awake_since) + AHEAD > boundary:
                continue
            for unit in life.experiment.units:
                lease = self.world.holding(unit, self.world.now)
                mine = lease is not None and lease.experiment == name and lease.arm != 0
                assert not mine or binding(self.world.blackouts, unit, unit, boundary) is not None, (unit, lease)

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
    def killed_and_reverted_units_are_on_control(self) -> None:
        if not hasattr(self, "world"):
            return
        for name, life in self.world.lives.items():
            ended = any(change.action in AT_ONCE for change in life.history)
            for market, units in life.experiment.units_by_market().items():
                if self.world._killed(name, market) is None and not ended:
                    continue
                for unit in units:
                    lease = self.world.holding(unit, self.world.now)
                    assert lease is None or lease.experiment != name or lease.arm == 0

    @invariant()
    def nothing_is_drawn_for_an_experiment_that_is_over(self) -> None:
        if not hasattr(self, "world"):
            return
        for name, life in self.world.lives.items():
            if life.state not in OVER:
                continue
            over = next(c.changed_at for c in life.history if c.to_state in OVER)
            for unit in life.experiment.units:
                for lease in self.world.held.get(unit, []):
                    if lease.experiment == name and lease.arm and lease.effective_at > over + life.experiment.lead:
                        assert binding(self.world.blackouts, unit, unit, lease.effective_at) is not None, lease

    @invariant()
    def no_day_is_delivered_twice_or_both_delivered_and_missed(self) -> None:
        if not hasattr(self, "world"):
            return
        assert all(times == 1 for times in Counter(self.world.delivered).values())
        missed = {
            (f"{m.experiment}.{m.experiment_version}", m.market, m.first_day + timedelta(days=k))
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
            if not any(self.world.to_do(name) for name in self.world.lives):
                break
        told: Counter[tuple[str, str, object]] = Counter(self.world.delivered)
        for m in self.world.undelivered:
            count = (m.last_day - m.first_day).days + 1
            which = f"{m.experiment}.{m.experiment_version}"
            told.update((which, m.market, m.first_day + timedelta(days=k)) for k in range(count))
        for name, life in self.world.lives.items():
            finished = any(change.action == "finish" for change in life.history)
            uninterrupted = {change.action for change in life.history} <= {"submit", "begin", "finish", "washed_out"}
            if finished and uninterrupted and never_killed:
                for market in life.experiment.units_by_market():
                    days = {life.experiment.start + timedelta(days=k) for k in range(life.experiment.days)}
                    which = f"{name}.{life.experiment.version}"
                    assert {d for n, m, d in told if (n, m) == (which, market)} == days
        Controller.reached.update(self.world.reached)
        Controller.reached.update({"changed": len(self.world.changed), "missed": len(self.world.undelivered)})
        Controller.reached["at once"] += sum(change.urgent for change in self.world.changed)
        assert [day for day, times in told.items() if times != 1] == []
        for name, life in self.world.lives.items():
            for unit in life.experiment.units:
                # A release is decided ahead of the boundary at which it takes effect.
                lease = self.world.holding(unit, self.world.now + AHEAD)
                assert lease is None or lease.experiment != name or lease.arm == 0, "let go in the end"


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
