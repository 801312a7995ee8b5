"""A guardrail from the published sequence to control prices: requested once, by any worker that reads it."""

from typing import Any

import numpy as np
import pytest

from controller.decisions.guardrails import first_breach
from controller.definition.experiment import design_hash
from controller.definition.parameters import Guardrail
from controller.messages.codec import MODELS, encode, told
from controller.messages.control import GuardrailBreached, LifecycleChanged, LifecycleRequest
from controller.messages.topics import ASSIGNMENT_LOG, DEFINITION
from streams.control.control_agents import Heard, on_definition
from streams.control.overrides import at_once, holds_back, life
from streams.flips.guardrail_actions import Guard
from streams.store import Registration
from streams.store.memory.store import MemoryStore
from tests.controller.builders import START, an_experiment
from tests.streams.flips.doubles import PARTITIONS, Known, Rec, System
from tests.streams.flips.sequences import sequence

REVERT = Guardrail(metric="units", on_breach="revert", tolerance=1.0, expected_blocks=10)


def test_a_breach_is_found_at_the_look_at_which_it_came_however_late_somebody_looks() -> None:
    experiment = an_experiment(guardrails=(REVERT,))
    harm = [-4.0] * 6
    found = first_breach(REVERT, sequence(experiment, harm), 1)
    assert found is not None
    assert (found.action, found.upper_limit is not None and found.upper_limit < -1.0) == ("revert", True)
    assert 1 < found.blocks < 6
    assert first_breach(REVERT, sequence(experiment, harm[: found.blocks - 1]), 1) is None
    recovered = [*harm[: found.blocks], *[5.0] * 9]
    assert first_breach(REVERT, sequence(experiment, recovered), 1) == found, "it has been breached"
    assert first_breach(REVERT, sequence(experiment, harm, planned_variance=None), 1) is None


def test_a_guardrail_seldom_acts_where_the_effect_is_what_is_put_up_with() -> None:
    """Every look is looked at, and each of two arms has half of alpha: false alarms stay under 5 %."""
    experiment, chance, alarms, runs = an_experiment(guardrails=(REVERT,)), np.random.default_rng(5), 0, 400
    for _ in range(runs):
        arms = [list(chance.normal(-REVERT.tolerance, 1.0, 30)) for _ in range(2)]
        alarms += any(first_breach(REVERT, sequence(experiment, arm), 2) is not None for arm in arms)
    assert alarms / runs <= 0.05 + 4 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(
    ("on_breach", "state", "at_once_too"), [("revert", "stopping", True), ("pause", "paused", False)]
)
async def test_harm_puts_control_prices_at_once_and_freezes_while_a_signal_only_pauses(
    on_breach: Any, state: str, at_once_too: bool
) -> None:
    guardrail = REVERT.model_copy(update={"on_breach": on_breach})
    experiment = an_experiment(guardrails=(guardrail,), carryover_order=1)
    system = System(MemoryStore(PARTITIONS), experiment, times=1)
    parts, store = system.parts, system.store
    system.clock.at = system.clock.at.replace(year=START.year, month=START.month, day=START.day + 3)
    await store.put_registration(Registration(experiment, design_hash(experiment)))
    guard, said = Guard(parts), sequence(experiment, [-4.0] * 6)
    record = encode(said, "sequence", system.clock.at)
    for _ in range(2):
        await guard.look(Rec("sequence", 0, 0, record.key, record.value, tuple(record.headers)))

    def published(topic: str) -> list[Any]:
        logs = [record for (name, _), log in sorted(system.topics.logs.items()) if name == topic for record in log]
        return [MODELS[told(r.headers)["ce_type"].decode()].model_validate_json(r.value or b"") for r in logs]

    (breached,) = [m for m in published(ASSIGNMENT_LOG) if isinstance(m, GuardrailBreached)]
    assert (breached.metric, breached.arm, breached.on_breach, breached.tolerance) == ("units", "cheap", on_breach, 1.0)
    (request,) = published(DEFINITION)
    assert isinstance(request, LifecycleRequest)
    sent = encode(request, request.id, request.requested_at)
    await on_definition(parts, Known(experiment), Heard("d", 0, 0, sent.key, sent.value, tuple(sent.headers)))

    _, held = await store.registrations(0)
    lived = life(held[experiment.name], system.clock.at)
    assert (lived.state, lived.frozen) == (state, on_breach == "revert")
    assert holds_back(lived, {}, "m0")
    assert (at_once(lived, {}, "m0") is not None) == at_once_too
    (changed,) = [m for m in published(ASSIGNMENT_LOG) if isinstance(m, LifecycleChanged) and m.role == "guardrail"]
    assert changed.who == "guardrail on units"
    assert "put up with is -1" in changed.why

    # Later sequences breach it too, and another worker may read them: nothing more is asked for.
    await Guard(parts).look(Rec("sequence", 0, 1, record.key, record.value, tuple(record.headers)))
    assert len([m for m in published(ASSIGNMENT_LOG) if isinstance(m, GuardrailBreached)]) == 1


async def test_a_sequence_of_another_version_or_metric_moves_nothing() -> None:
    experiment = an_experiment(guardrails=(REVERT,))
    system = System(MemoryStore(PARTITIONS), experiment, times=1)
    system.clock.at = system.clock.at.replace(year=START.year, month=START.month, day=START.day + 3)
    await system.store.put_registration(Registration(experiment, design_hash(experiment)))
    for changes in ({"design_hash": "another"}, {"metric": "revenue"}, {"experiment": "stranger"}):
        record = encode(sequence(experiment, [-9.0] * 6, **changes), "sequence", system.clock.at)
        await Guard(system.parts).look(Rec("sequence", 0, 0, record.key, record.value, tuple(record.headers)))
    assert system.topics.logs == {}
