"""A triggered experiment, its market of rivals, and the triggers that reach it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from controller.decisions.enrolment import Enrolment, admit, entry_of
from controller.definition.experiment import Experiment
from controller.messages.control import Entered, TriggerFired, TriggerIgnored
from controller.messages.inputs import CompetitorPrice
from controller.time.periods import day_start
from tests.controller.builders import START, an_experiment

CHICAGO = "America/Chicago"
NOON = day_start(START, CHICAGO) + timedelta(hours=12)


def a_price(hours: float, price: int | None, event: str = "", unit: str = "m0/p0") -> CompetitorPrice:
    return CompetitorPrice(
        id=event or f"e{hours}",
        unit=unit,
        competitor="rival",
        observed_at=NOON + timedelta(hours=hours),
        price_minor=price,
        currency="USD",
    )


def triggered(**changes: Any) -> Experiment:
    rules = {"kind": "triggered", "rule": {"kind": "undercut"}, "treatment_days": 3, **changes.pop("design", {})}
    return an_experiment(2, 5, design=rules, days=40, **changes)


def a_trigger(hours: float, unit: str = "m0/p0", event: str = "") -> TriggerFired:
    return TriggerFired(
        id=event or f"oj/{unit}/{hours}", experiment="oj-2026", experiment_version=1, market=unit[:2], cluster=unit,
        unit=unit, competitor="rival", event=event or f"{unit}{hours}", rule="undercut",
        observed_at=NOON + timedelta(hours=hours),
    )  # fmt: skip


def answered(
    experiment: Experiment, triggers: Sequence[tuple[TriggerFired, float]], frozen: bool = False
) -> tuple[Enrolment, list[str]]:
    """Answer triggers, each so many hours after it was observed; the reasons, "entered" or "nothing"."""
    enrolment = Enrolment()
    reasons: list[str] = []
    for trigger, late in triggers:
        done = admit(experiment, enrolment, trigger, trigger.observed_at + timedelta(hours=late), frozen=frozen)
        enrolment = done.enrolment
        match done.message:
            case TriggerIgnored():
                assert done.entry is None
                assert done.message.detail
                reasons.append(done.message.reason)
            case Entered():
                assert done.entry == entry_of(experiment, done.message)
                reasons.append("entered")
            case None:
                reasons.append("nothing")
    return enrolment, reasons


DAY = 24.0


def market_of_rivals(events: int) -> list[CompetitorPrice]:
    """Random walks of rivals' prices around ours, in the order of their time."""
    chance = np.random.default_rng(20260302)
    units = an_experiment(2, 5).units
    level = dict.fromkeys(units, 320)
    found = []
    for k in range(events):
        unit = units[int(chance.integers(len(units)))]
        level[unit] = int(np.clip(level[unit] + chance.integers(-25, 26), 200, 450))
        found.append(a_price(k * 39 * DAY / events, level[unit], f"e{k}", unit))
    return found


STRICT = {"quiet_days": 1, "cool_down_days": 2, "max_concurrent": 3, "treatment_days": 2, "max_staleness_minutes": 120}
