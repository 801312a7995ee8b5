"""Assignment logs as a controller writes them, and what somebody could have changed in them."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from controller.decisions.decide import decide
from controller.decisions.roster import roster
from controller.definition.experiment import Experiment, design_hash
from controller.definition.field_types import Message
from controller.messages.events import Assignment, Reason, Registered
from controller.schedule.due import MarketPlan
from controller.time.periods import day_start, local_day
from tests.controller.builders import BEFORE, START

CHICAGO = "America/Chicago"
HOUR = timedelta(hours=1)


def published(experiment: Experiment) -> Registered:
    return Registered(id="r", experiment=experiment, design_hash=design_hash(experiment), registered_at=BEFORE)


def a_log(experiment: Experiment, days: int | None = None, entries: Sequence[Any] = ()) -> list[Message]:
    """What the system writes when nothing goes wrong: every day decided an hour ahead, then the release."""
    layout, log = roster(experiment), list[Message]()
    plans = dict.fromkeys(layout.units, MarketPlan())
    for k in range(experiment.days + 1 if days is None else days):
        now = day_start(START + timedelta(days=k), CHICAGO) - HOUR
        for decision in decide(layout, plans, now, {}, entries):
            plans[decision.market] = decision.state
            flip = decision.flip
            log += [
                Assignment(
                    id=f"{flip.experiment}.1/{flip.day}/{p.unit}", unit=p.unit, cluster=p.cluster,
                    experiment=flip.experiment, experiment_version=1, design_hash=flip.design_hash, block=flip.block,
                    day=flip.day, arm=flip.arms[p.arm], planned_arm=flip.arms[p.arm], price_minor=None, currency="USD",
                    effective_at=flip.effective_at, expires_at=flip.expires_at, decided_at=now, epoch=0,
                    sequence=len(log) + n, reason=Reason(code="scheduled" if flip.expires_at else "released"),
                )
                for n, p in enumerate(flip.proposals)
            ]  # fmt: skip
    return log


def change(log: list[Message], unit: str, day: int, edit: Callable[[Assignment], Sequence[Message]]) -> list[Message]:
    """The log with one record replaced."""
    wanted = (unit, START + timedelta(days=day))
    assert any(isinstance(r, Assignment) and (r.unit, r.day) == wanted for r in log)
    return [
        new
        for record in log
        for new in (
            edit(record) if isinstance(record, Assignment) and (record.unit, record.day) == wanted else (record,)
        )
    ]


def other_arm(record: Assignment) -> Assignment:
    arm = "cheap" if record.arm == "control" else "control"
    return record.model_copy(update={"arm": arm, "planned_arm": arm})


def on_control(experiment: Experiment, market: str, at: datetime, day: date | None = None) -> list[Message]:
    """Releases of a market's units, at once, or ahead of the boundary of a day."""
    effective = at if day is None else day_start(day, CHICAGO)
    return [
        Assignment(
            id=f"oj-2026.1/{effective}/{unit}/at-once", unit=unit, cluster=experiment.cluster_by_unit()[unit],
            experiment="oj-2026", experiment_version=1, design_hash=design_hash(experiment), block=-1,
            day=local_day(effective, CHICAGO), arm="control", planned_arm="control", price_minor=300, currency="USD",
            effective_at=effective, expires_at=None, decided_at=at, epoch=0, sequence=10**6 + k,
            reason=Reason(code="released", detail="kill by ada: x" if day is None else ""),
        )
        for k, unit in enumerate(experiment.units_by_market()[market])
    ]  # fmt: skip
