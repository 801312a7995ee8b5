"""A small world to try the controller in: pure state for what the store, the clock and the pricing systems are.

Its grant of a flip is the reference for the real store's: exclusivity, then blackout, then the arm.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.decisions.decide import Flip, decide, release_now, settled
from controller.decisions.kill_switches import killed, standing
from controller.decisions.lifecycle import ALLOWED, Lifecycle, apply, due_by_clock, revised
from controller.decisions.limits import keep_within
from controller.decisions.roster import Roster, roster
from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.errors import IllegalTransition
from controller.messages.control import Action, Kill, LifecycleRequest
from controller.messages.events import Undelivered
from controller.messages.inputs import Blackout, CatalogEntry
from controller.schedule.blackout import binding
from controller.schedule.due import MarketPlan
from controller.validation.price_rules import PriceChange
from streams.control.overrides import holding, unfinished


@dataclass(frozen=True, slots=True)
class Held:
    """The arm of a unit from an instant on, until its lease ends."""

    experiment: str
    arm: int
    price_minor: int
    effective_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of a unit's price: when, from, to, and whether a rule (not a boundary) asked for it at once."""

    unit: str
    at: datetime
    before: int
    after: int
    urgent: bool


@dataclass
class World:
    """Everything there is, changed step by step by a test."""

    now: datetime
    catalog: dict[str, CatalogEntry]
    lives: dict[str, Lifecycle] = field(default_factory=dict)
    plans: dict[tuple[str, str], MarketPlan] = field(default_factory=dict)
    held: dict[str, list[Held]] = field(default_factory=dict)
    blackouts: list[Blackout] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    undelivered: list[Undelivered] = field(default_factory=list)
    #: (experiment.version, market, day) of every flip that was carried out
    delivered: list[tuple[str, str, object]] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    #: (experiment, version, stopped) -> roster
    layouts: dict[tuple[str, int, bool], Roster] = field(default_factory=dict)
    requests: int = 0
    #: what happened how often: a model that reaches nothing proves nothing
    reached: Counter[str] = field(default_factory=Counter)

    # --- what holds ---

    def holding(self, unit: str, at: datetime) -> Held | None:
        """The lease that covers an instant; None: control."""
        for lease in reversed(self.held.get(unit, [])):
            if lease.effective_at <= at:
                return lease if lease.expires_at is None or at < lease.expires_at else None
        return None

    def price(self, unit: str, at: datetime) -> int:
        lease = self.holding(unit, at)
        return lease.price_minor if lease is not None else self.catalog[unit].list_price_minor

    def history(self, unit: str) -> tuple[PriceChange, ...]:
        """The unit's price changes, lapsed leases included."""
        control, changes = self.catalog[unit].list_price_minor, list[PriceChange]()
        leases = self.held.get(unit, [])
        for k, lease in enumerate(leases):
            changes.append(PriceChange(lease.effective_at, lease.price_minor))
            following = leases[k + 1].effective_at if k + 1 < len(leases) else None
            if lease.expires_at is not None and (following is None or lease.expires_at < following):
                changes.append(PriceChange(lease.expires_at, control))
        kept, last = list[PriceChange](), control
        for change in changes:
            if change.price_minor != last:
                kept.append(change)
                last = change.price_minor
        return tuple(kept)

    def layout(self, experiment: Experiment, stopped: bool) -> Roster:
        """The experiment's roster, laid out once."""
        key = (experiment.name, experiment.version, stopped)
        if key not in self.layouts:
            self.layouts[key] = roster(experiment, stopped=stopped)
        return self.layouts[key]

    def holding_markets(self, name: str) -> list[str]:
        """Markets whose units an experiment has not let go."""
        life = self.lives[name]
        markets = life.experiment.units_by_market()
        return [market for market in markets if holding(life, self.plans.get((name, market), MarketPlan()))]

    def to_do(self, name: str) -> bool:
        """Whether anything is still to be decided for an experiment."""
        life = self.lives[name]
        plans = [self.plans.get((name, market), MarketPlan()) for market in life.experiment.units_by_market()]
        over = life.state in ("draft", "stopped", "archived") and not life.begun
        return any(not plan.released for plan in plans if plan.holds or not over)

    # --- what happens ---

    def register(self, experiment: Experiment) -> None:
        """A new experiment, or the next version of one that is over; raises IllegalTransition as the worker would."""
        known = self.lives.get(experiment.name)
        if known is not None:
            revised(known, experiment, self.holding_markets(experiment.name))
            self.plans = {key: plan for key, plan in self.plans.items() if key[0] != experiment.name}
        self.lives[experiment.name] = Lifecycle(experiment)
        assert self.ask(experiment.name, "submit")

    def ask(self, name: str, action: Action) -> bool:
        """Whether the lifecycle allowed an action."""
        self.requests += 1
        request = LifecycleRequest(
            id=f"r{self.requests}", experiment=name, action=action, role=min(ALLOWED[action]), who="x", why="x",
            requested_at=self.now,
        )  # fmt: skip
        before = self.lives[name]
        try:
            self.lives[name] = apply(before, request, self.now)
        except IllegalTransition:
            assert self.lives[name] is before
            return False
        if action == "resume":
            for key, plan in self.plans.items():
                if key[0] == name:
                    self.plans[key] = replace(plan, released=False)
        if action in ("kill", "revert"):
            self._at_once(name, self.lives[name].experiment.units_by_market())
        return True

    def tick(self) -> None:
        """One look at the clock by a controller that is awake."""
        for name, life in list(self.lives.items()):
            while (request := due_by_clock(life, self.now)) is not None:
                life = apply(life, request, self.now)
            self.lives[name] = life
            self._decide(name, life)

    def _decide(self, name: str, life: Lifecycle) -> None:
        shown = life.shows == "design" or life.state == "scheduled"
        for market in life.experiment.units_by_market():
            held_back = not shown or self._killed(name, market) is not None
            layout = self.layout(life.experiment, held_back)
            plan = self.plans.get((name, market), MarketPlan())
            if not unfinished(life, plan):
                continue
            through = plan.decided_through
            if not held_back and plan.released and through is not None and through < life.experiment.end:
                plan = replace(plan, released=False)  # a kill was lifted, a pause is over
            for decision in decide(layout, {market: plan}, self.now, self.catalog):
                flip, limited = keep_within(decision.flip, life.experiment.limits, self.catalog, self.history)
                kept = self.grant(flip)
                self.reached.update({"kept by a limit": len(limited), "kept by a blackout": kept})
                self.plans[name, market] = settled(decision, kept)
                self.undelivered += decision.messages
                if flip.expires_at is not None:
                    self.delivered.append((f"{name}.{flip.experiment_version}", market, flip.day))

    def _killed(self, name: str, market: str) -> Kill | None:
        return killed(standing(self.kills).values(), name, market)

    def kill(self, kill: Kill) -> None:
        """Pull or lift a switch; what it covers goes to control at once."""
        self.kills.append(kill)
        if not kill.lifted:
            for name, life in self.lives.items():
                hit = [m for m in life.experiment.units_by_market() if self._killed(name, m)]
                self._at_once(name, hit)

    def _at_once(self, name: str, markets: Iterable[str]) -> None:
        for market in markets:
            flip = release_now(self.layout(self.lives[name].experiment, False), market, self.now, self.catalog)
            mine = [
                p for p in flip.proposals
                for lease in (self.holding(p.unit, self.now), *self._ahead(p.unit))
                if lease and lease.experiment == name
            ]  # fmt: skip
            self.grant(replace(flip, proposals=tuple(dict.fromkeys(mine))))

    def _ahead(self, unit: str) -> list[Held]:
        return [lease for lease in self.held.get(unit, []) if lease.effective_at > self.now]

    def grant(self, flip: Flip) -> int:
        """Carry a flip out; the number of units that kept another arm than proposed."""
        kept = 0
        for proposal in flip.proposals:
            unit, at = proposal.unit, flip.effective_at
            lease = self.holding(unit, at - timedelta(microseconds=1))
            covering = self.holding(unit, at)
            released = covering is None or (covering.arm == 0 and covering.expires_at is None)
            if covering is not None and covering.experiment != flip.experiment and not released and not flip.urgent:
                continue
            arm, expires = proposal.arm, flip.expires_at
            before = self.price(unit, at - timedelta(microseconds=1))
            price = proposal.prices_minor[arm]
            assert price is not None
            window = binding(self.blackouts, unit, proposal.cluster, at)
            if window is not None and not flip.urgent:
                mine = lease is not None and lease.experiment == flip.experiment
                standing_arm = lease.arm if mine and lease else 0
                kept += standing_arm != arm
                arm, price, expires = standing_arm, before, flip.keep_until
            if flip.urgent:
                self.held[unit] = [lease for lease in self.held.get(unit, []) if lease.effective_at <= at]
            self.held.setdefault(unit, []).append(Held(flip.experiment, arm, price, at, expires))
            if price != before:
                self.changed.append(Changed(unit, at, before, price, flip.urgent))
        return kept

    def units(self) -> list[str]:
        return sorted(self.catalog)

    def markets(self) -> list[str]:
        return sorted({market_of(unit) for unit in self.catalog})
