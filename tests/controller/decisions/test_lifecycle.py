"""The life of an experiment: what the table allows, who may, and that a refusal changes nothing."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from controller.decisions.decide import release_now
from controller.decisions.kill_switches import killed, standing
from controller.decisions.lifecycle import (
    ALLOWED,
    MEASURED,
    PRICES,
    TRANSITIONS,
    Lifecycle,
    apply,
    diagram,
    due_by_clock,
    revised,
)
from controller.decisions.roster import roster
from controller.errors import IllegalTransition
from controller.messages.control import Action, Kill, LifecycleRequest, Role, State
from controller.time.periods import day_start
from tests.controller.builders import BEFORE, START, a_catalog, an_experiment

CHICAGO = "America/Chicago"
STATES: tuple[State, ...] = get_args(State)
ACTIONS: tuple[Action, ...] = get_args(Action)
ROLES: tuple[Role, ...] = get_args(Role)


def a_request(action: Action, role: Role | None = None, ident: str = "", **changes: Any) -> LifecycleRequest:
    fields: dict[str, Any] = {
        "id": ident or f"{action}-1",
        "experiment": "oj-2026",
        "action": action,
        "role": role or min(ALLOWED[action]),
        "who": "ada",
        "why": "because",
        "requested_at": BEFORE,
        **changes,
    }
    return LifecycleRequest(**fields)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_move_is_in_the_table_or_it_is_refused_and_changes_nothing(state: State, action: Action) -> None:
    life = Lifecycle(an_experiment(), state)
    if action in TRANSITIONS[state]:
        after = apply(life, a_request(action), BEFORE)
        assert after.state == TRANSITIONS[state][action]
        (change,) = after.history
        assert (change.who, change.why, change.from_state, change.to_state) == ("ada", "because", state, after.state)
        assert change.changed_at == BEFORE
    else:
        with pytest.raises(IllegalTransition, match=f"oj-2026 is {state}: no {action}"):
            apply(life, a_request(action), BEFORE)
    assert life == Lifecycle(an_experiment(), state)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", ROLES)
def test_only_who_may_ask_is_heard(action: Action, role: Role) -> None:
    state = next(s for s in STATES if action in TRANSITIONS[s])
    life = Lifecycle(an_experiment(), state)
    if role in ALLOWED[action]:
        assert apply(life, a_request(action, role), BEFORE).history[-1].role == role
    else:
        with pytest.raises(IllegalTransition, match="may not"):
            apply(life, a_request(action, role), BEFORE)


def test_every_state_is_reached_and_every_life_can_end() -> None:
    reached, waiting = set(), ["draft"]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting += TRANSITIONS[state].values()  # type: ignore[index]
    assert reached == set(STATES) == set(TRANSITIONS) == set(PRICES)
    assert [state for state in STATES if not TRANSITIONS[state]] == ["archived"]
    assert set(MEASURED) < set(STATES)


def test_the_same_request_again_changes_nothing() -> None:
    once = apply(Lifecycle(an_experiment(), "running"), a_request("pause"), BEFORE)
    assert apply(once, a_request("pause"), BEFORE + timedelta(hours=1)) is once


def test_a_request_without_a_reason_or_for_somebody_else_is_refused() -> None:
    life = Lifecycle(an_experiment(), "running")
    with pytest.raises(IllegalTransition, match="needs a reason"):
        apply(life, a_request("pause", why=""), BEFORE)
    with pytest.raises(IllegalTransition, match="other"):
        apply(life, a_request("pause", experiment="other"), BEFORE)


def test_only_a_running_experiment_shows_its_design() -> None:
    assert [state for state in STATES if Lifecycle(an_experiment(), state).shows == "design"] == ["running"]


def test_freezing_stops_enrolment_and_goes_on_measuring() -> None:
    life = apply(Lifecycle(an_experiment(), "running"), a_request("freeze"), BEFORE)
    assert (life.state, life.frozen, life.shows) == ("running", True, "design")
    assert life.state in MEASURED
    assert not apply(life, a_request("unfreeze"), BEFORE).frozen


def test_harm_reverts_and_freezes_and_cannot_be_resumed() -> None:
    life = apply(Lifecycle(an_experiment(), "running"), a_request("revert", "guardrail"), BEFORE)
    assert (life.state, life.frozen, life.shows) == ("stopping", True, "control")
    with pytest.raises(IllegalTransition, match="possible: washed_out, kill"):
        apply(life, a_request("resume"), BEFORE)


def test_a_signal_pauses_and_the_owner_may_resume() -> None:
    life = apply(Lifecycle(an_experiment(), "running"), a_request("pause", "guardrail"), BEFORE)
    assert life.shows == "control"
    assert apply(life, a_request("resume"), BEFORE).shows == "design"


def lived(life: Lifecycle, until: datetime) -> list[tuple[str, datetime]]:
    """What the clock does on its own: (action, first hour at which it is asked for)."""
    found: list[tuple[str, datetime]] = []
    now = BEFORE
    while now < until:
        request = due_by_clock(life, now)
        if request is not None:
            life = apply(life, request, now)
            found.append((request.action, request.requested_at))
        now += timedelta(hours=1)
    return found


def test_time_begins_finishes_and_washes_out() -> None:
    experiment = an_experiment(carryover_order=2, design={"kind": "time_bound", "washout_days": 2})
    life = apply(Lifecycle(experiment), a_request("submit"), BEFORE)
    assert lived(life, day_start(START + timedelta(days=30), CHICAGO)) == [
        ("begin", day_start(START, CHICAGO)),
        ("finish", day_start(experiment.end, CHICAGO)),
        ("washed_out", day_start(experiment.end + timedelta(days=2), CHICAGO)),
    ]


def test_a_stop_is_measured_until_its_own_carryover_has_worn_off() -> None:
    experiment = an_experiment(carryover_order=2, design={"kind": "time_bound", "washout_days": 2})
    stopped_at = day_start(START + timedelta(days=3), CHICAGO)
    life = apply(Lifecycle(experiment, "running"), a_request("stop"), stopped_at)
    assert due_by_clock(life, stopped_at + timedelta(hours=47)) is None
    request = due_by_clock(life, stopped_at + timedelta(hours=48))
    assert request is not None
    assert apply(life, request, stopped_at).state == "stopped"


def test_a_design_cannot_change_while_it_runs() -> None:
    life = Lifecycle(an_experiment(), "running")
    with pytest.raises(IllegalTransition, match=r"days, seed cannot change while it runs; .* register version 2"):
        revised(life, an_experiment(days=20, seed="8", version=1))
    assert revised(life, an_experiment()) == life, "the same definition again is no change"


def test_in_draft_anything_may_change_and_afterwards_only_as_a_new_version() -> None:
    assert revised(Lifecycle(an_experiment()), an_experiment(days=20)).experiment.days == 20
    over = Lifecycle(an_experiment(), "stopped")
    with pytest.raises(IllegalTransition, match="use 2"):
        revised(over, an_experiment(days=20))
    again = revised(over, an_experiment(days=20, version=2))
    assert (again.state, again.experiment.version) == ("draft", 2)
    with pytest.raises(IllegalTransition, match="its own experiment"):
        revised(over, an_experiment(name="other"))


def test_a_new_version_waits_until_the_old_one_has_let_its_units_go() -> None:
    """Nobody would let them go afterwards: the owners of markets know one version of an experiment."""
    over, following = Lifecycle(an_experiment(), "stopped"), an_experiment(days=20, version=2)
    with pytest.raises(IllegalTransition, match="version 1 still holds units in m0, m1: they go back to control"):
        revised(over, following, ["m1", "m0"])
    assert revised(over, an_experiment(), ["m0"]) == over, "the same definition again is no change"
    assert revised(over, following, []).experiment.version == 2


def test_the_documented_diagram_is_the_table() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "designs.md"
    assert diagram() in page.read_text()


# --- kill switches ---------------------------------------------------------------------------------------------------


def a_kill(scope: str, name: str = "", ident: str = "k", lifted: bool = False, hour: int = 0) -> Kill:
    return Kill(
        id=ident, scope=scope, name=name, lifted=lifted, who="ada", why="x",  # type: ignore[arg-type]
        requested_at=BEFORE + timedelta(hours=hour),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kill", "hit"),
    [
        (a_kill("all"), True),
        (a_kill("market", "m0"), True),
        (a_kill("market", "m1"), False),
        (a_kill("experiment", "oj-2026"), True),
        (a_kill("experiment", "m0"), False),
        (a_kill("all", lifted=True), False),
    ],
)
def test_a_kill_holds_what_it_names(kill: Kill, hit: bool) -> None:
    assert (killed([kill], "oj-2026", "m0") is kill) is hit


def test_a_lifted_kill_is_gone_whatever_the_order_of_its_records() -> None:
    on, off = a_kill("all"), a_kill("all", lifted=True, hour=1)
    assert standing([on, off]) == standing([off, on]) == {}
    assert standing([on, a_kill("market", "m0", ident="other")]).keys() == {"k", "other"}


def test_a_kill_puts_every_unit_of_the_market_on_control_at_once() -> None:
    now = day_start(START, CHICAGO) + timedelta(hours=9)
    flip = release_now(roster(an_experiment()), "m0", now, a_catalog())
    assert (flip.effective_at, flip.expires_at, flip.urgent) == (now, None, True)
    assert [(p.unit, p.arm, p.prices_minor) for p in flip.proposals] == [(f"m0/p{k}", 0, (300, 270)) for k in range(3)]
