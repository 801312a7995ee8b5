"""Enrolment: coins are fixed before, and whatever is sent twice or out of order, no entry breaks a rule of entering."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decisions.decide import decide, starts
from controller.decisions.enrolment import Enrolment, admit
from controller.decisions.roster import roster
from controller.decisions.triggers import (
    RivalHistory,
    fired,
    observe,
)
from controller.definition.experiment import Experiment
from controller.definition.parameters import Triggered
from controller.designs.entries import Entry
from controller.designs.triggered import arms_entered, entry_washout
from controller.messages.control import Entered, TriggerFired, TriggerIgnored
from controller.messages.inputs import CompetitorPrice
from controller.randomisation.hash_scores import coin
from controller.schedule.due import MarketPlan
from controller.time.periods import day_start
from tests.controller.builders import START, a_catalog
from tests.controller.decisions.triggered import (
    CHICAGO,
    DAY,
    NOON,
    STRICT,
    a_price,
    a_trigger,
    answered,
    market_of_rivals,
    triggered,
)


@pytest.mark.parametrize(
    ("design", "triggers", "expected"),
    [
        ({}, [(a_trigger(0), 0), (a_trigger(0), 0)], ["entered", "nothing"]),
        ({}, [(a_trigger(0), 2)], ["stale"]),
        ({"max_staleness_minutes": 180}, [(a_trigger(0), 2)], ["entered"]),
        ({}, [(a_trigger(-10 * DAY), 0)], ["window"]),
        ({"enrolment_days": 5}, [(a_trigger(3 * DAY), 0), (a_trigger(4 * DAY, "m0/p1"), 0)], ["entered", "window"]),
        ({}, [(a_trigger(0), 0), (a_trigger(DAY), 0), (a_trigger(4 * DAY), 0)], ["entered", "running", "entered"]),
        ({"cool_down_days": 2}, [(a_trigger(0), 0), (a_trigger(4 * DAY), 0), (a_trigger(5 * DAY), 0)],
         ["entered", "cool_down", "entered"]),
        ({"quiet_days": 2}, [(a_trigger(0), 0), (a_trigger(5 * DAY), 0), (a_trigger(7.5 * DAY), 0)],
         ["entered", "not_quiet", "entered"]),
        ({"quiet_days": 2}, [(a_trigger(0), 3), (a_trigger(DAY), 0)], ["stale", "not_quiet"]),
        ({"max_concurrent": 2}, [(a_trigger(0, f"m0/p{k}"), 0) for k in range(3)] + [(a_trigger(0, "m1/p0"), 0)],
         ["entered", "entered", "cap", "entered"]),
    ],
)  # fmt: skip
def test_a_trigger_enters_or_names_the_rule_that_forbids_it(
    design: dict[str, Any], triggers: list[tuple[TriggerFired, float]], expected: list[str]
) -> None:
    assert answered(triggered(design=design), triggers)[1] == expected


def test_a_frozen_enrolment_takes_nobody_in() -> None:
    assert answered(triggered(), [(a_trigger(0), 0)], frozen=True)[1] == ["frozen"]


def test_entries_begin_at_the_next_boundary_that_is_ahead_by_the_lead_time() -> None:
    (early,) = answered(triggered(), [(a_trigger(0), 0)])[0].entries
    assert (early.starts_at, early.first_day) == (
        day_start(START + timedelta(days=1), CHICAGO),
        START + timedelta(days=1),
    )
    assert (early.end_day - early.first_day).days == 3
    (late,) = answered(triggered(), [(a_trigger(11.5), 0)])[0].entries
    assert late.first_day == START + timedelta(days=2), "half an hour before midnight is less than the lead time"


def test_a_stated_delay_starts_within_the_day_and_washes_that_day_out() -> None:
    experiment = triggered(design={"delay_minutes": 90})
    (entry,) = answered(experiment, [(a_trigger(0), 0)])[0].entries
    assert entry.starts_at == NOON + timedelta(minutes=90)
    assert entry.first_day == START
    assert [entry_washout(experiment, entry, START + timedelta(days=k)) for k in range(4)] == [
        True,
        False,
        False,
        False,
    ]
    laid_out, catalog = roster(experiment), a_catalog(2, 5)
    assert starts(laid_out, entry, MarketPlan(START - timedelta(days=1)), NOON, catalog) is None, "the day comes first"
    (flip,) = starts(laid_out, entry, MarketPlan(START), NOON, catalog) or ()
    assert flip.urgent
    assert (flip.effective_at, flip.expires_at) == (entry.starts_at, day_start(START + timedelta(days=1), CHICAGO))
    assert [(p.unit, p.arm) for p in flip.proposals] == [("m0/p0", entry.arm)]
    (later,) = starts(laid_out, entry, MarketPlan(START), NOON + timedelta(hours=3), catalog) or ()
    assert later.effective_at == NOON + timedelta(hours=3), "after a crash it begins when it can"
    assert starts(laid_out, entry, MarketPlan(START), NOON + timedelta(hours=13), catalog) == ()


def test_a_delayed_start_gives_out_again_the_day_after_where_that_was_given_out_already() -> None:
    experiment = triggered(design={"delay_minutes": 90})
    (entry,) = answered(experiment, [(a_trigger(10), 0)])[0].entries
    laid_out, tomorrow = roster(experiment), START + timedelta(days=1)
    flips = starts(laid_out, entry, MarketPlan(tomorrow), NOON + timedelta(hours=11.1), a_catalog(2, 5)) or ()
    assert [(f.day, f.effective_at, f.expires_at) for f in flips] == [
        (START, entry.starts_at, day_start(tomorrow, CHICAGO)),
        (tomorrow, day_start(tomorrow, CHICAGO), day_start(tomorrow + timedelta(days=1), CHICAGO)),
    ]
    assert {p.arm for f in flips for p in f.proposals} == {entry.arm}


def test_an_entry_within_a_day_does_not_begin_at_the_boundary_before_it() -> None:
    experiment = triggered(seed="11", design={"delay_minutes": 14 * 60})
    entries = answered(experiment, [(a_trigger(0, f"m0/p{k}"), 0) for k in range(5)])[0].entries
    plans, evening = {"m0": MarketPlan(START)}, NOON + timedelta(hours=11.5)
    (decision,) = decide(roster(experiment), plans, evening, {}, entries)
    assert {p.arm for p in decision.flip.proposals} == {0}
    plans, evening = {"m0": MarketPlan(START + timedelta(days=1))}, evening + timedelta(days=1)
    (decision,) = decide(roster(experiment), plans, evening, {}, entries)
    assert {p.cluster: p.arm for p in decision.flip.proposals} == {e.cluster: e.arm for e in entries}


def test_an_entry_begins_on_a_day_that_is_not_given_out_yet() -> None:
    experiment, given_out = triggered(), START + timedelta(days=1)
    (entry,) = [admit(experiment, Enrolment(), a_trigger(0), NOON, undecided=given_out + timedelta(days=1)).entry]
    assert entry is not None
    assert entry.first_day == given_out + timedelta(days=1)


def test_a_cluster_enters_when_its_quorum_is_reached_and_what_came_before_did_not_disturb_its_quiet() -> None:
    experiment = triggered(design={"per": "cluster", "quorum": "2/3", "quiet_days": 2}, clusters="market")
    enrolment, reasons = Enrolment(), []
    for hours, unit in ((0, "m0/p0"), (2, "m0/p0"), (30, "m0/p1"), (31, "m0/p2"), (32, "m0/p3"), (33, "m0/p4")):
        trigger = a_trigger(hours, unit).model_copy(update={"cluster": "m0"})
        done = admit(experiment, enrolment, trigger, trigger.observed_at, units=5)
        enrolment = done.enrolment
        reasons.append(done.message.reason if isinstance(done.message, TriggerIgnored) else "entered")
    # 2/3 of 5 units is 4 of them, within a day: the first two events are too old by then
    assert reasons == ["quorum", "quorum", "quorum", "quorum", "quorum", "entered"]


def test_nobody_enters_what_does_not_run() -> None:
    done = admit(triggered(), Enrolment(), a_trigger(0), NOON, closed="the experiment is paused")
    assert isinstance(done.message, TriggerIgnored)
    assert (done.message.reason, done.message.detail) == ("not_running", "the experiment is paused")


def test_the_memory_of_answered_triggers_is_as_long_as_they_could_start_anything() -> None:
    experiment, enrolment = triggered(design={"treatment_days": 1}), Enrolment()
    for k in range(38):
        enrolment = admit(experiment, enrolment, a_trigger(k * DAY), NOON + timedelta(days=k)).enrolment
    assert len(enrolment.of("m0/p0").seen) <= 2
    old = admit(experiment, enrolment, a_trigger(0), NOON + timedelta(days=38))
    assert isinstance(old.message, TriggerIgnored)
    assert old.message.reason == "stale"


def test_ids_of_triggers_fit_the_contract_whatever_an_owner_calls_his_events() -> None:
    experiment = triggered(clusters={"c" * 129: ("m0/p0",)})
    long = fired(experiment, "c" * 129, a_price(0, 100, "e" * 200))
    entry = admit(experiment, Enrolment(), long.model_copy(update={"cluster": "c"}), NOON).message
    assert entry is not None
    assert entry.id in (f"{long.id}/entry", f"{long.id}/ignored"), "answers are found by it"
    assert fired(experiment, "m0/p0", a_price(0, 100, "e1")).id == "oj-2026.1/m0/p0/e1"


def test_no_entry_outlives_the_experiment() -> None:
    experiment = triggered()
    (entry,) = answered(experiment, [(a_trigger(38 * DAY), 0)])[0].entries
    assert entry.end_day == experiment.end
    assert answered(experiment, [(a_trigger(39 * DAY), 0)])[1] == ["window"]


def test_arms_follow_the_coins_of_the_ordinals() -> None:
    experiment = triggered(design={"treatment_days": 1})
    days = [(a_trigger(k * 2 * DAY), 0.0) for k in range(15)]
    entries = answered(experiment, days)[0].entries
    assert [e.ordinal for e in entries] == list(range(15))
    assert [e.arm for e in entries] == [coin("7", "oj-2026", "m0/p0", k, experiment.shares()) for k in range(15)]
    assert {e.arm for e in entries} == {0, 1}


def test_decide_gives_entered_clusters_their_arms_and_everyone_else_control() -> None:
    experiment = triggered(seed="11")
    entries = answered(experiment, [(a_trigger(0, f"m0/p{k}"), 0) for k in range(5)])[0].entries
    assert {e.arm for e in entries} == {0, 1}
    (decision,) = decide(roster(experiment), {"m0": MarketPlan(START)}, NOON + timedelta(hours=11.5), {}, entries)
    assert {p.cluster: p.arm for p in decision.flip.proposals} == {e.cluster: e.arm for e in entries}
    later = START + timedelta(days=4)
    assert set(arms_entered(experiment, entries, later, day_start(later, CHICAGO)).values()) == {0}


# --- histories -------------------------------------------------------------------------------------------------------


def replayed(experiment: Experiment, arriving: Sequence[tuple[CompetitorPrice, datetime]]) -> Enrolment:
    """Competitor events in the order of their arrival, through rules and enrolment, as the system would."""
    design = experiment.design
    assert isinstance(design, Triggered)
    histories: dict[str, RivalHistory] = {}
    markets: dict[str, Enrolment] = {"m0": Enrolment(), "m1": Enrolment()}
    for event, now in arriving:
        histories[event.unit], fires_now = observe(design.rule, histories.get(event.unit, RivalHistory()), event, 300)
        if not fires_now:
            continue
        market = event.unit[:2]
        trigger = a_trigger(0, event.unit, event.id).model_copy(update={"observed_at": event.observed_at})
        markets[market] = admit(experiment, markets[market], trigger, now).enrolment
    return Enrolment({**markets["m0"].clusters, **markets["m1"].clusters})


def test_ten_thousand_events_replayed_twice_and_with_duplicates_lead_to_the_same_entries() -> None:
    experiment, events = triggered(design=STRICT), market_of_rivals(10_000)
    arriving = [(event, event.observed_at + timedelta(seconds=1)) for event in events]
    doubled = [pair for pair in arriving for _ in range(2)]
    afterwards = arriving + [(event, arriving[-1][1]) for event in events[::7]]
    once = replayed(experiment, arriving)
    assert len(once.entries) > 20
    assert replayed(experiment, arriving) == once
    assert replayed(experiment, doubled) == once
    assert replayed(experiment, afterwards).entries == once.entries


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shuffled_within_their_lateness_entries_keep_every_rule_and_arms_are_as_committed(seed: int) -> None:
    chance = np.random.default_rng(seed)
    experiment, events = triggered(design=STRICT), market_of_rivals(2_000)
    lateness = chance.uniform(0, 100 * 60, len(events))
    arriving = sorted(
        ((e, e.observed_at + timedelta(seconds=float(s))) for e, s in zip(events, lateness, strict=True)),
        key=lambda pair: pair[1],
    )
    entries = replayed(experiment, arriving).entries
    assert entries
    for entry in entries:
        assert entry.arm == coin(experiment.seed, experiment.name, entry.cluster, entry.ordinal, experiment.shares())
        assert entry.starts_at > entry.triggered_at
    for cluster in experiment.cluster_names():
        mine = [e for e in entries if e.cluster == cluster]
        assert [e.ordinal for e in mine] == list(range(len(mine)))
        for before, after in pairwise(mine):
            assert after.first_day >= before.end_day + timedelta(days=2), "cool-down"
            assert after.triggered_at >= day_start(before.end_day, CHICAGO) + timedelta(days=1), "quiet period"
    for market in ("m0", "m1"):
        assert busiest(e for e in entries if e.market == market) <= 3


def busiest(entries: Any) -> int:
    found: list[Entry] = list(entries)
    return max((sum(e.first_day <= other.first_day < e.end_day for e in found) for other in found), default=0)


def test_now_is_an_argument() -> None:
    experiment = triggered()
    done = admit(experiment, Enrolment(), a_trigger(0), datetime(2026, 3, 2, 18, 30, tzinfo=UTC))
    assert isinstance(done.message, Entered)
    assert done.message.decided_at == datetime(2026, 3, 2, 18, 30, tzinfo=UTC)
