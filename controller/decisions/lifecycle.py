"""The life of an experiment as one table. A move that is not in it is refused and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from controller.definition.experiment import Experiment, design_hash
from controller.errors import IllegalTransition
from controller.messages.control import Action, LifecycleChanged, LifecycleRequest, Role, State
from controller.time.periods import day_start

#: state -> action -> next state. Two rules: what is absent is illegal; nothing leaves `archived`.
TRANSITIONS: dict[State, dict[Action, State]] = {
    "draft": {"submit": "scheduled", "archive": "archived"},
    "scheduled": {"withdraw": "draft", "begin": "running", "freeze": "scheduled", "unfreeze": "scheduled",
                  "stop": "stopped", "kill": "stopped"},
    "running": {"pause": "paused", "freeze": "running", "unfreeze": "running", "stop": "stopping",
                "finish": "stopping", "revert": "stopping", "kill": "stopped"},
    "paused": {"resume": "running", "freeze": "paused", "unfreeze": "paused", "stop": "stopping",
               "finish": "stopping", "revert": "stopping", "kill": "stopped"},
    "stopping": {"washed_out": "stopped", "kill": "stopped"},
    "stopped": {"archive": "archived"},
    "archived": {},
}  # fmt: skip

#: who may ask for what
ALLOWED: dict[Action, frozenset[Role]] = {
    "submit": frozenset({"owner"}),
    "withdraw": frozenset({"owner"}),
    "begin": frozenset({"clock"}),
    "pause": frozenset({"owner", "on_call", "guardrail"}),
    "resume": frozenset({"owner"}),
    "freeze": frozenset({"owner", "on_call", "guardrail"}),
    "unfreeze": frozenset({"owner"}),
    "stop": frozenset({"owner", "on_call"}),
    "finish": frozenset({"clock"}),
    "revert": frozenset({"guardrail", "on_call"}),
    "kill": frozenset({"owner", "on_call"}),
    "washed_out": frozenset({"clock"}),
    "archive": frozenset({"owner"}),
}

#: what prices a state shows: the design's, or control's
PRICES: dict[State, Literal["design", "control"]] = {
    "draft": "control",
    "scheduled": "control",
    "running": "design",
    "paused": "control",
    "stopping": "control",
    "stopped": "control",
    "archived": "control",
}

#: actions that put control prices at once; the others wait for the next day boundary
AT_ONCE: frozenset[Action] = frozenset({"kill", "revert"})
#: an experiment that is over: others may have its units
OVER: frozenset[State] = frozenset({"stopping", "stopped", "archived"})
#: states in which sales still count towards the estimate
MEASURED: frozenset[State] = frozenset({"running", "paused", "stopping"})


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Where an experiment stands, and every change that brought it there."""

    experiment: Experiment
    state: State = "draft"
    #: no cluster may enter any more; what has entered goes on and is measured
    frozen: bool = False
    history: tuple[LifecycleChanged, ...] = ()

    @property
    def shows(self) -> Literal["design", "control"]:
        return PRICES[self.state]

    @property
    def begun(self) -> bool:
        """Whether its first day has ever come."""
        return any(change.action == "begin" for change in self.history)


def apply(lifecycle: Lifecycle, request: LifecycleRequest, now: datetime) -> Lifecycle:
    """The life after a request; the same request again changes nothing more.

    Raises IllegalTransition that names experiment, state and action, and what is possible instead.
    """
    if any(change.id == request.id for change in lifecycle.history):
        return lifecycle
    name, state, action = lifecycle.experiment.name, lifecycle.state, request.action
    if request.experiment != name:
        raise IllegalTransition(f"a request for {request.experiment} reached {name}: route it by its key")
    moves = TRANSITIONS[state]
    if action not in moves:
        possible = ", ".join(moves) or "nothing"
        raise IllegalTransition(f"{name} is {state}: no {action} from there; possible: {possible}")
    if request.role not in ALLOWED[action]:
        roles = " or ".join(sorted(ALLOWED[action]))
        raise IllegalTransition(f"{name}: {request.role} ({request.who}) may not {action}; {roles} may")
    if not request.why:
        raise IllegalTransition(f"{name}: {action} needs a reason; say why")
    frozen = {"freeze": True, "unfreeze": False, "revert": True, "kill": True}.get(action, lifecycle.frozen)
    changed = LifecycleChanged(
        id=request.id,
        experiment=name,
        experiment_version=lifecycle.experiment.version,
        action=action,
        from_state=state,
        to_state=moves[action],
        frozen=frozen,
        role=request.role,
        who=request.who,
        why=request.why,
        changed_at=now,
    )
    return replace(lifecycle, state=moves[action], frozen=frozen, history=(*lifecycle.history, changed))


def due_by_clock(lifecycle: Lifecycle, now: datetime) -> LifecycleRequest | None:
    """The move that time asks for: the start of the first market, the hard end of the last, the end of the washout.

    The washout after the end lasts as many days as the carryover order.
    """
    experiment = lifecycle.experiment
    zones = sorted(set(experiment.time_zones().values()))
    if not zones:
        return None
    measured_until = experiment.end + timedelta(days=experiment.carryover_order)
    if lifecycle.state == "stopping" and lifecycle.history[-1].action != "finish":
        stopped_at = next(c.changed_at for c in reversed(lifecycle.history) if c.to_state == "stopping")
        over = stopped_at + timedelta(days=experiment.carryover_order)
    else:
        over = max(day_start(measured_until, zone) for zone in zones)
    asked: dict[State, tuple[Action, datetime, str]] = {
        "scheduled": ("begin", min(day_start(experiment.start, zone) for zone in zones), "the first day has begun"),
        "running": ("finish", max(day_start(experiment.end, zone) for zone in zones), "the last day is over"),
        "paused": ("finish", max(day_start(experiment.end, zone) for zone in zones), "the last day is over"),
        "stopping": ("washed_out", over, "the carryover has worn off"),
    }
    if lifecycle.state not in asked:
        return None
    action, at, why = asked[lifecycle.state]
    if now < at:
        return None
    return LifecycleRequest(
        id=f"{experiment.plan_name}/{action}",
        experiment=experiment.name,
        action=action,
        role="clock",
        who="clock",
        why=why,
        requested_at=at,
    )


def lived(lifecycle: Lifecycle, now: datetime) -> Lifecycle:
    """The life with the moves that time has made since it was last written down."""
    while (request := due_by_clock(lifecycle, now)) is not None:
        lifecycle = apply(lifecycle, request, request.requested_at)
    return lifecycle


def revised(lifecycle: Lifecycle, proposed: Experiment, holding: Sequence[str] = ()) -> Lifecycle:
    """A new definition of the same name: free in draft, a new version (and a new hash) once an experiment is over.

    ``holding``: markets whose units the old version has not let go yet. Whoever replaces it would leave them on their
    arm until their leases end.

    Raises IllegalTransition that names the fields: what defines a design cannot change while it runs.
    """
    current = lifecycle.experiment
    if proposed.name != current.name:
        raise IllegalTransition(f"{proposed.name} is no revision of {current.name}: register it as its own experiment")
    changed = sorted(f for f in Experiment.model_fields if getattr(current, f) != getattr(proposed, f))
    if not changed:
        return replace(lifecycle, experiment=proposed)
    named = ", ".join(changed)
    if lifecycle.state not in ("draft", "stopped", "archived"):
        raise IllegalTransition(
            f"{current.name} is {lifecycle.state}: {named} cannot change while it runs; stop it, and register "
            f"version {current.version + 1}"
        )
    if holding:
        raise IllegalTransition(
            f"{current.name} version {current.version} still holds units in {', '.join(sorted(holding)[:3])}: they go "
            f"back to control at the next day boundary outside blackouts; register this definition then, "
            f"or under another name now"
        )
    drafted = lifecycle.state == "draft"
    if not drafted and (proposed.version <= current.version or design_hash(proposed) == design_hash(current)):
        raise IllegalTransition(f"{current.name}: a change of {named} is a new version; use {current.version + 1}")
    return replace(lifecycle, experiment=proposed) if drafted else Lifecycle(proposed)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> draft"]
    for state, moves in TRANSITIONS.items():
        by_target: dict[State, list[str]] = {}
        for action, target in moves.items():
            by_target.setdefault(target, []).append(action)
        lines += [f"    {state} --> {target}: {', '.join(actions)}" for target, actions in by_target.items()]
    return "\n".join(lines) + "\n"
