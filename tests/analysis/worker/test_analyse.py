"""The front door: a step for each closed day, revisions, exclusions with reasons, and what an estimate names."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Finding, Mark, due, key, mark_of
from controller.definition.experiment import Arm, design_hash
from controller.definition.field_types import Message
from controller.messages.events import Assignment, Estimate, PeriodClosed, Reason, UnitDay
from tests.analysis.traffic import START, closing, experiment, history, unit_day

DAY = timedelta(days=1)


def fold(messages: list[Message], ledger: Ledger | None = None) -> Ledger:
    ledger = ledger or Ledger()
    for message in messages:
        ledger.fold(message)
    return ledger


def estimates_of(findings: Iterable[Finding]) -> list[Estimate]:
    return [finding for finding in findings if isinstance(finding, Estimate)]


def last(ledger: Ledger, metric: str = "units", arm: str = "low") -> Estimate:
    return [e for e in estimates_of(due(ledger, {})) if (e.metric, e.arm) == (metric, arm)][-1]


def publish(ledger: Ledger, published: dict[str, Mark]) -> list[Finding]:
    fresh = list(due(ledger, dict(published)))
    published.update({key(finding): mark_of(finding) for finding in fresh})
    return fresh


def test_each_day_closed_in_all_markets_is_one_step_computed_on_exactly_the_days_up_to_it() -> None:
    definition = experiment(days=5)
    messages = history(definition)
    whole = list(due(fold(messages), {}))
    steps = estimates_of(whole)
    assert [e.through for e in steps if e.metric == "units"] == [START + k * DAY for k in range(5)]
    ledger, stepwise = Ledger(), []
    published: dict[str, Mark] = {}
    for message in messages:
        ledger.fold(message)
        stepwise += publish(ledger, published)
    assert [e.model_dump_json() for e in estimates_of(stepwise)] == [e.model_dump_json() for e in steps]
    # what is published whole ends up the same, looked at once or after every day
    assert {key(f): f.model_dump_json() for f in stepwise} == {key(f): f.model_dump_json() for f in whole}


def test_a_day_that_one_market_has_not_closed_is_no_step() -> None:
    definition = experiment(days=3)
    messages = [
        m for m in history(definition) if not (isinstance(m, PeriodClosed) and m.market == "m03" and m.day > START)
    ]
    assert {finding.through for finding in due(fold(messages), {})} == {START}


def test_a_late_sale_makes_the_latest_step_anew_with_a_higher_revision() -> None:
    definition = experiment(days=4)
    published: dict[str, Mark] = {}
    ledger = fold(history(definition))
    before = estimates_of(publish(ledger, published))[-3:]
    assert publish(ledger, published) == []
    fold([unit_day(definition, "m00/p0", START, 1000, revision=1, events=2)], ledger)
    after = estimates_of(publish(ledger, published))
    assert [(e.metric, e.through, e.revision) for e in after] == [(e.metric, e.through, 1) for e in before]
    assert after[0].absolute != before[0].absolute
    assert publish(ledger, published) == []


def test_after_a_restart_only_what_is_newer_is_published_and_nothing_is_lost() -> None:
    messages = history(experiment(days=5))
    whole = list(due(fold(messages), {}))
    for published in range(len(whole) + 1):
        marks = {key(estimate): mark_of(estimate) for estimate in whole[:published]}
        rest = list(due(fold(messages), marks))
        assert [e.model_dump_json() for e in rest] == [e.model_dump_json() for e in whole[published:]]


def test_an_estimate_names_what_it_rests_on() -> None:
    definition = experiment(days=4)
    messages = history(definition)
    estimate = last(fold(messages))
    assert estimate.design_hash == design_hash(definition)
    closings = [m for m in messages if isinstance(m, PeriodClosed) and m.day == START + 3 * DAY]
    assert estimate.watermark == min(c.watermark for c in closings)
    assert estimate.offsets == {"0": 30, "1": 31}
    assert (estimate.clusters, estimate.days, estimate.cells, estimate.left_out) == (4, 4, 32, {})
    assert estimate.confidence == 0.95
    assert estimate.code_version.startswith("flipside ")


def test_cells_whose_flip_a_blackout_blocked_are_listed_and_left_out() -> None:
    definition = experiment(markets=6, days=4)
    blackout = [
        m.model_copy(update={"reason": Reason(code="blackout"), "arm": "control"})
        if isinstance(m, Assignment) and m.unit.startswith("m02/") and m.day == START + DAY
        else m
        for m in history(definition)
    ]
    estimate = last(fold(blackout))
    assert estimate.blocked_cells == ("m02/p0 2026-03-03", "m02/p1 2026-03-03")
    assert estimate.left_out == {"blackout": 2}
    assert (estimate.cells, estimate.clusters, estimate.absolute is None) == (46, 6, False)


def test_undelivered_and_unobserved_cells_are_counted_and_never_taken_for_zero() -> None:
    definition = experiment(markets=6, days=4)
    messages = history(definition)
    silent = [m for m in messages if not (isinstance(m, Assignment) and m.unit == "m02/p0" and m.day == START)]
    # m03/p1 sold nothing that anybody reported
    silent = [m for m in silent if not (isinstance(m, UnitDay) and m.unit == "m03/p1" and m.day == START)]
    promised = {"unit_days": 1, "events": 1}
    silent = [
        m.model_copy(update=promised) if isinstance(m, PeriodClosed) and (m.market, m.day) == ("m03", START) else m
        for m in silent
    ]
    estimate = last(fold(silent))
    assert estimate.left_out == {"undelivered": 1, "unobserved": 1}
    assert estimate.cells == 46


def test_margin_without_costs_is_absent_with_its_reason_and_the_other_metrics_are_there() -> None:
    ledger = fold(history(experiment(days=3), cost=False))
    margin, units = last(ledger, "margin"), last(ledger, "units")
    assert margin.absolute is None
    assert margin.relative is None
    assert margin.reason_absent == "the arm has no usable cell yet"
    assert margin.left_out == {"cost_unknown": 24}
    assert units.absolute is not None


def test_money_metrics_are_in_minor_units_and_follow_from_the_sales() -> None:
    ledger = fold(history(experiment(days=5)))
    units, revenue, margin = (last(ledger, metric).absolute for metric in ("units", "revenue", "margin"))
    assert units is not None
    assert revenue is not None
    assert margin is not None
    # every piece is sold at 3 and costs 2
    assert revenue.value == pytest.approx(3 * units.value)
    assert margin.value == pytest.approx(units.value)


def test_one_cluster_has_a_reason_and_no_number() -> None:
    estimate = last(fold(history(experiment(markets=1, days=3))))
    assert (estimate.absolute, estimate.relative, estimate.clusters) == (None, None, 1)
    assert estimate.reason_absent == "one cluster: there is nobody to compare it with"


def test_the_first_day_alone_has_a_reason_and_no_number() -> None:
    first = estimates_of(due(fold(history(experiment(days=3))), {}))[0]
    assert first.through == START
    assert first.absolute is None
    assert first.reason_absent is not None
    assert first.reason_absent.startswith("0 usable days")


def test_every_arm_is_compared_with_control_alone() -> None:
    arms = (Arm(name="control"), Arm(name="low"), Arm(name="lower"))
    ledger = fold(history(experiment(markets=12, days=6, arms=arms)))
    low, lower = last(ledger, arm="low"), last(ledger, arm="lower")
    states = [m.arm for m in history(experiment(markets=12, days=6, arms=arms)) if isinstance(m, Assignment)]
    for estimate, others in ((low, "lower"), (lower, "low")):
        assert estimate.absolute is not None
        assert estimate.cells + sum(estimate.left_out.values()) == 144 - states.count(others)


def test_a_closing_published_again_moves_the_watermark_of_its_own_day_only() -> None:
    definition = experiment(days=3)
    messages = history(definition)
    again = closing(definition, "m00", START, revision=1)
    estimate = last(fold([*messages, again]))
    assert estimate.watermark == last(fold(messages)).watermark
    assert estimate.revision == 1
