"""Experiments settled together hold what each would hold had it been settled alone."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from analysis.panel_data.ledger import Ledger
from analysis.panel_data.study import EMPTY, Study
from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.field_types import Message
from controller.messages.events import Assignment, UnitDay
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice
from tests.analysis.traffic import START, assignment, experiment, history, registered

ONE = experiment(markets=3, products=2, days=5, name="one")
#: the same units a day later and under another version, units of its own in a market fewer, and three arms
AGAIN = experiment(markets=3, products=2, days=5, name="one", version=2, start=START + timedelta(days=1))
TWO = experiment(markets=2, products=0, days=5, name="two", units=("m00/q0", "m00/q1", "m00/q2", "m01/q0"))
MORE = tuple(Arm(name=name, price=PriceRule(percent=Decimal(by))) for name, by in (("low", -10), ("lower", -20)))
THREE = experiment(
    markets=2, products=0, days=4, name="three", units=("m00/r0", "m01/r0"), arms=(Arm(name="control"), *MORE)
)
PLANS = (ONE, AGAIN, TWO, THREE)


def messages() -> Iterator[Message]:
    """What the log says of all of them, with live prices, stock and a rival; a unit sells for more than 31 bits."""
    for number, plan in enumerate(PLANS):
        for message in history(plan, seed=number):
            if isinstance(message, UnitDay) and message.unit == "m01/q0":
                yield message.model_copy(update={"revenue_minor": 1 << 40})
            else:
                yield message
            if isinstance(message, Assignment) and message.unit.endswith("0"):
                yield Applied(
                    id=message.id,
                    unit=message.unit,
                    arm=message.arm if number else "control",
                    price_minor=None,
                    applied_at=message.effective_at + timedelta(minutes=number),
                    assignment=message.id,
                )
                yield CompetitorPrice(
                    id=message.id,
                    unit=message.unit,
                    competitor="rival",
                    observed_at=message.effective_at - timedelta(hours=5),
                    price_minor=3,
                    currency="EUR",
                )
    # m00 reads a second time of a day: its revision counts once for each experiment
    yield next(m for m in history(ONE, seed=9) if isinstance(m, UnitDay)).model_copy(update={"revision": 2})
    yield assignment(TWO, "m00/q1", START, "low", id="noon", effective_at=_noon(TWO), sequence=99)


def _noon(plan: Experiment) -> datetime:
    return next(m for m in history(plan) if isinstance(m, Assignment)).effective_at + timedelta(hours=12)


def ledger_of_all() -> Ledger:
    ledger = Ledger()
    for plan in PLANS:
        ledger.fold(registered(plan))
    for message in messages():
        ledger.fold(message)
    for unit, stocked in (("m00/p0", False), ("m00/q0", True)):
        entry = CatalogEntry(unit=unit, time_zone="Europe/Vienna", currency="EUR", list_price_minor=3, in_stock=stocked)
        ledger.fold(entry, at=_noon(ONE))
    return ledger


def held(study: Study) -> dict[str, object]:
    """Everything that settling leaves behind."""
    through = study.last_day
    days = study.unit_days(through)
    arrays = {name: getattr(days, name) for name in (*EMPTY, "assigned")}
    found: dict[str, object] = {
        name: (array.dtype, array.tolist()) for name, array in arrays.items() if name != "stale_hours"
    }
    found["stale_hours"] = np.nan_to_num(days.stale_hours, nan=-1.0).tolist()
    found["lags"] = {key: lags.tolist() for key, lags in study.lags.items()}
    found["revisions"] = [study.revision(START + timedelta(days=k)) for k in range(7)]
    return found


@pytest.mark.parametrize("name", [study.name + str(study.version) for study in PLANS])
def test_together_as_alone(name: str) -> None:
    together, alone = ledger_of_all(), ledger_of_all()
    together.settle_all([(study, study.last_day) for study in together.studies.values()])
    (ours,) = (study for study in together.studies.values() if study.key[0] + str(study.key[1]) == name)
    study = alone.studies[ours.key]
    alone.settle(study, study.last_day)
    assert held(ours) == held(study)


def test_what_is_read_again_is_settled_again_in_its_own_market_only() -> None:
    ledger = ledger_of_all()
    every = [(study, study.last_day) for study in ledger.studies.values()]
    ledger.settle_all(every)
    late = next(m for m in history(ONE) if isinstance(m, UnitDay) and m.unit == "m01/p1")
    ledger.fold(late.model_copy(update={"revision": 5, "quantity": 77}))
    ledger.settle_all(every)
    fresh = ledger_of_all()
    fresh.fold(late.model_copy(update={"revision": 5, "quantity": 77}))
    for study in fresh.studies.values():
        fresh.settle(study, study.last_day)
    assert [held(one) for one, _ in every] == [held(study) for study in fresh.studies.values()]
    assert all(not list(study.unsettled(through, lambda market: ())) for study, through in every)
