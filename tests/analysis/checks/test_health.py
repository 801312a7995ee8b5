"""Health: each check is fed with what it speaks of, and a pricing system that ignores an arm is found at once."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
import pytest

from analysis.checks.health import CHECKS
from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Mark, due, key, mark_of
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.control import TriggerIgnored
from controller.messages.events import Assignment, PeriodClosed, UnitDay
from controller.messages.findings import Health
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice
from controller.time.periods import period
from tests.analysis.sequential.past_sales import with_past
from tests.analysis.traffic import START, experiment, history, registered

DAY = timedelta(days=1)
ZONE = "Europe/Vienna"
MANY = experiment(markets=12, products=2, days=8)


def applied(one: Assignment, arm: str | None = None, seconds: float = 20) -> Applied:
    """A pricing system shows an arm, so long after it was to."""
    at = one.effective_at + timedelta(seconds=seconds)
    return Applied(
        id=f"{one.id}/{seconds}", unit=one.unit, arm=arm or one.arm, price_minor=None, applied_at=at, assignment=one.id
    )


def obeyed(messages: Iterable[Message]) -> list[Message]:
    """A pricing system that does what it is told, and says so when it changes."""
    found: list[Message] = []
    shown: dict[str, str] = {}
    for message in messages:
        found.append(message)
        if isinstance(message, Assignment) and shown.get(message.unit) != message.arm:
            shown[message.unit] = message.arm
            found.append(applied(message))
    return found


def ledger_of(messages: Iterable[Message], at: datetime | None = None) -> Ledger:
    ledger = Ledger()
    for message in messages:
        ledger.fold(message, at)
    return ledger


def checks(ledger: Ledger) -> dict[str, Health]:
    return {finding.check: finding for finding in due(ledger, {}) if isinstance(finding, Health)}


def test_all_checks_are_published_of_every_experiment_with_what_they_rest_on() -> None:
    found = checks(ledger_of(obeyed(with_past(MANY, 28))))
    assert found.keys() == CHECKS.keys()
    for check in found.values():
        assert check.what_to_do
        assert check.evidence
        assert (check.value is None) == (check.verdict == "unknown")
        assert check.through == START + 7 * DAY
    assert not {name: check.evidence for name, check in found.items() if check.verdict == "fail"}


def test_without_a_history_pieces_a_sale_are_shares_of_all_sales_and_not_thousands_of_percent() -> None:
    thirty = [m.model_copy(update={"quantity": 30 * m.events}) if isinstance(m, UnitDay) else m for m in history(MANY)]
    found = checks(ledger_of(obeyed(thirty)))["pieces-per-sale"]
    assert "treatment 100.00%, control 100.00%" in found.evidence


def test_a_pricing_system_that_ignores_one_arm_for_a_day_is_found_with_the_next_closing() -> None:
    ignored, shown, messages = START + 5 * DAY, dict[str, str](), list[Message]()
    for message in history(MANY):
        messages.append(message)
        if isinstance(message, Assignment):
            arm = "control" if message.day == ignored else message.arm
            if shown.get(message.unit) != arm:
                shown[message.unit] = arm
                messages.append(applied(message, arm))
    verdicts, published, ledger = {}, dict[str, Mark](), Ledger()
    for message in messages:
        ledger.fold(message)
        if isinstance(message, PeriodClosed) and message.market == "m11":
            for finding in due(ledger, dict(published)):
                published[key(finding)] = mark_of(finding)
                if isinstance(finding, Health) and finding.check == "fidelity":
                    verdicts[message.day] = finding
    assert [verdicts[START + k * DAY].verdict for k in range(6)] == ["pass"] * 5 + ["fail"]
    found = verdicts[ignored]
    assert found.value == 0.0
    assert "low on 2026-03-07, 0 of 12 unit-days" in found.evidence
    assert found.what_to_do.startswith("Ask the pricing system's owner why low was not live")


def test_a_system_that_shows_the_wrong_arm_and_says_nothing_more_is_taken_by_its_last_word() -> None:
    messages = [m for m in obeyed(history(MANY)) if not (isinstance(m, Applied) and m.applied_at >= _day(6))]
    found = checks(ledger_of(messages))["fidelity"]
    assert found.verdict == "fail"
    assert found.value is not None
    assert 0.0 < found.value < 0.95


def _day(k: int) -> datetime:
    return period(START + k * DAY, ZONE).start


def test_minutes_of_the_wrong_arm_are_lag_and_hours_are_infidelity() -> None:
    for seconds, fidelity, lag in ((20, "pass", "pass"), (1800, "pass", "warn"), (4 * 3600, "fail", "warn")):
        late = [applied(m, seconds=seconds) for m in history(MANY) if isinstance(m, Assignment)]
        found = checks(ledger_of([*history(MANY), *late]))
        assert (found["fidelity"].verdict, found["activation-lag"].verdict) == (fidelity, lag), seconds
        assert found["activation-lag"].value == pytest.approx(seconds)


def test_reports_that_come_after_the_day_was_closed_are_checked_and_published_again() -> None:
    messages = obeyed(history(MANY))
    reports = [m for m in messages if isinstance(m, Applied)]
    ledger, published = ledger_of(m for m in messages if not isinstance(m, Applied)), dict[str, Mark]()
    for finding in due(ledger, {}):
        published[key(finding)] = mark_of(finding)
    for report in reports:
        ledger.fold(report)
    again = list(due(ledger, dict(published)))
    assert {finding.check for finding in again if isinstance(finding, Health)} == {
        "fidelity",
        "reporting",
        "activation-lag",
    }
    assert len(again) == 3


def test_the_order_of_reports_does_not_matter() -> None:
    messages = obeyed(history(MANY))
    there, back = (checks(ledger_of(order)) for order in (messages, messages[::-1]))
    assert there == back


def test_rows_that_one_arm_loses_fail_the_sample_ratio_and_the_missing_cells_are_uneven() -> None:
    rng = np.random.default_rng(1)
    definition = experiment(markets=20, products=20, days=28)
    messages = history(definition)
    low = {(m.unit, m.day) for m in messages if isinstance(m, Assignment) and m.arm == "low"}
    lost = [m for m in messages if isinstance(m, UnitDay) and (m.unit, m.day) in low and rng.random() < 0.1]
    gone = {(m.unit, m.day) for m in lost}
    kept = [
        m.model_copy(update={"unit_days": 0, "events": 0}) if isinstance(m, PeriodClosed) else m
        for m in messages
        if not (isinstance(m, UnitDay) and (m.unit, m.day) in gone)
    ]
    whole, found = checks(ledger_of(messages)), checks(ledger_of(kept))
    assert whole["sample-ratio"].verdict == "pass"
    assert found["sample-ratio"].verdict == "fail"
    assert found["sample-ratio"].value == pytest.approx(0.1, abs=0.03)
    assert found["missingness"].verdict == "fail"


def test_stock_rivals_and_neighbours_are_looked_at_where_somebody_speaks_of_them() -> None:
    messages = with_past(MANY, 14)
    low = [m for m in messages if isinstance(m, Assignment) and m.arm == "low"]
    ledger = ledger_of(messages)
    before = checks(ledger)
    assert {before[name].verdict for name in ("stock-outs", "rivals-price-staleness", "interference")} == {"unknown"}
    entry = CatalogEntry(unit="m00/p0", time_zone=ZONE, category="tea", currency="EUR", list_price_minor=3)
    for unit in MANY.units:
        ledger.fold(entry.model_copy(update={"unit": unit}), _day(-3))
        price = CompetitorPrice(id="c", unit=unit, competitor="x", observed_at=_day(0), price_minor=3, currency="EUR")
        ledger.fold(price)
    for one in low:
        ledger.fold(entry.model_copy(update={"unit": one.unit, "in_stock": False}), one.effective_at + DAY / 3)
        ledger.fold(entry.model_copy(update={"unit": one.unit}), one.effective_at + DAY / 2)
    found = checks(ledger)
    assert (found["stock-outs"].verdict, found["stock-outs"].value) == ("fail", 1.0)
    assert found["rivals-price-staleness"].verdict == "pass"
    # markets are clusters here: nobody can switch between their shelves
    assert (found["interference"].verdict, found["interference"].value) == ("pass", 0.0)


def test_triggers_of_a_triggered_experiment_are_counted_by_the_arm_of_their_cluster() -> None:
    found = checks(ledger_of([registered(MANY), *history(MANY)]))["trigger-rates"]
    assert (found.verdict, found.evidence) == ("unknown", "only triggered experiments wait for triggers")
    ignored = TriggerIgnored(
        id="i", experiment="test", experiment_version=1, market="m00", cluster="m00", trigger="t", reason="running",
        detail="", triggered_at=_day(1), decided_at=_day(1),
    )  # fmt: skip
    ledger = ledger_of([registered(MANY), ignored, ignored])
    (study,) = ledger.studies.values()
    assert ledger.triggers_of(study, START + DAY) == ((START + DAY, "m00"),)
    assert ledger.triggers_of(study, START) == ()


def test_one_market_for_one_day_has_reasons_and_no_crash() -> None:
    small: Experiment = experiment(markets=1, products=1, days=1)
    found = checks(ledger_of(history(small)))
    assert found.keys() == CHECKS.keys()
    assert {found[name].verdict for name in ("carryover", "sample-ratio", "pre-period-balance")} == {"unknown"}
