"""What is due: strictly ahead of the boundary, within the lead, once, and never late."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.decisions.decide import decide, settled
from controller.decisions.roster import roster
from controller.schedule.due import MarketPlan, due
from controller.time.periods import day_start, period
from tests.controller.builders import START, a_catalog, an_experiment

CHICAGO = "America/Chicago"
HOUR = timedelta(hours=1)
FIRST = day_start(START, CHICAGO)


def test_a_day_is_due_from_its_lead_time_on_and_until_it_begins() -> None:
    experiment, plan = an_experiment(), MarketPlan()
    assert due(experiment, CHICAGO, plan, FIRST - HOUR - timedelta(microseconds=1)) is None
    for now in (FIRST - HOUR, FIRST - timedelta(microseconds=1)):
        found = due(experiment, CHICAGO, plan, now)
        assert found is not None
        assert (found.period.day, found.release, found.missed) == (START, False, None)
    assert due(experiment, CHICAGO, plan, FIRST) is None, "a day that has begun is not decided any more"


def test_nothing_is_due_before_the_start_or_for_a_day_that_was_decided() -> None:
    experiment = an_experiment()
    assert due(experiment, CHICAGO, MarketPlan(), day_start(START - timedelta(days=3), CHICAGO) - HOUR) is None
    assert due(experiment, CHICAGO, MarketPlan(START), FIRST - HOUR) is None


def test_after_a_gap_the_schedule_goes_on_with_the_next_boundary_and_names_the_days_in_between() -> None:
    back = day_start(START + timedelta(days=5), CHICAGO) - HOUR / 2
    found = due(an_experiment(), CHICAGO, MarketPlan(START), back)
    assert found is not None
    assert found.period.day == START + timedelta(days=5)
    assert found.missed == (START + timedelta(days=1), START + timedelta(days=4))


def test_after_the_end_units_are_released_and_days_after_the_end_are_not_missed() -> None:
    experiment = an_experiment(days=3)
    late = day_start(START + timedelta(days=9), CHICAGO) - HOUR
    found = due(experiment, CHICAGO, MarketPlan(START), late)
    assert found is not None
    assert found.release
    assert found.missed == (START + timedelta(days=1), START + timedelta(days=2))
    assert due(experiment, CHICAGO, MarketPlan(START, released=True), late) is None


def test_a_local_day_that_the_zone_skipped_is_neither_decided_nor_missed() -> None:
    # Apia went from Thursday 2011-12-29 straight to Saturday 2011-12-31.
    experiment = an_experiment(time_zone="Pacific/Apia", start=date(2011, 12, 28), days=6)
    eve = day_start(date(2011, 12, 31), "Pacific/Apia") - HOUR
    found = due(experiment, "Pacific/Apia", MarketPlan(date(2011, 12, 29)), eve)
    assert found is not None
    assert (found.period.day, found.missed) == (date(2011, 12, 31), None)


@given(
    st.sampled_from(["America/Chicago", "America/Santiago", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia"]),
    st.lists(st.integers(1, 80), min_size=1, max_size=40),
    st.integers(1, 1439),
)
def test_every_day_is_decided_once_ahead_of_its_start_or_reported_missed(
    zone: str, hours: list[int], lead: int
) -> None:
    """A controller that sleeps for the given numbers of hours between its looks at the clock."""
    experiment = an_experiment(time_zone=zone, start=date(2025, 9, 1), days=12, lead_minutes=lead)
    plan, now = MarketPlan(), datetime(2025, 8, 30, tzinfo=UTC)
    decided: list[date] = []
    missed: list[date] = []
    for pause in (*hours, *[7] * 120):
        found = due(experiment, zone, plan, now)
        if found is not None:
            assert now < found.period.start
            assert found.period.start - now <= timedelta(minutes=lead)
            plan = MarketPlan(found.period.day, released=found.release)
            if not found.release:
                decided.append(found.period.day)
            first, last = found.missed or (date.max, date.min)
            missed += [first + timedelta(days=k) for k in range((last - first).days + 1)]
        now += timedelta(hours=pause)
    days = [experiment.start + timedelta(days=k) for k in range(experiment.days)]
    if plan.released:
        assert sorted(decided + missed) == days
    assert len(set(decided)) == len(decided)
    assert not set(decided) & set(missed)


def test_decide_prices_the_arms_and_leases_them_until_the_block_ends() -> None:
    experiment = an_experiment()
    (decision,) = decide(roster(experiment), {"m0": MarketPlan()}, FIRST - HOUR, a_catalog())
    flip = decision.flip
    assert flip.effective_at == FIRST
    assert flip.expires_at == flip.keep_until == period(START, CHICAGO).end
    assert [p.prices_minor for p in flip.proposals] == [(300, 270)] * 3
    assert decision.state == MarketPlan(START)
    assert decision.messages == ()


def test_decide_publishes_missed_days_with_an_identity_that_does_not_change() -> None:
    back = day_start(START + timedelta(days=2), CHICAGO) - HOUR
    layout = roster(an_experiment())
    once, again = (list(decide(layout, {"m0": MarketPlan()}, back, {})) for _ in range(2))
    (message,) = once[0].messages
    assert (message.first_day, message.last_day) == (START, START + timedelta(days=1))
    assert once == again
    assert once[0].flip.proposals[0].prices_minor == (None, None), "an unknown list price gives no price"


def test_a_market_where_nothing_is_due_yields_nothing() -> None:
    assert list(decide(roster(an_experiment()), {"m0": MarketPlan(), "m1": MarketPlan()}, FIRST, {})) == []


def test_a_release_puts_all_units_on_control_and_is_tried_again_where_a_rule_kept_some() -> None:
    experiment = an_experiment(days=1)
    eve = day_start(experiment.end, CHICAGO) - HOUR
    (decision,) = decide(roster(experiment), {"m0": MarketPlan(START)}, eve, {})
    assert decision.flip.expires_at is None
    assert {p.arm for p in decision.flip.proposals} == {0}
    assert settled(decision, kept=0).released
    assert not settled(decision, kept=2).released


def test_one_experiment_in_two_markets_shares_one_draw() -> None:
    experiment = an_experiment(clusters="product")
    decisions = list(decide(roster(experiment), {"m1": MarketPlan(), "m0": MarketPlan()}, FIRST - HOUR, {}))
    assert [d.market for d in decisions] == ["m0", "m1"]
    first, second = ({p.cluster: p.arm for p in d.flip.proposals} for d in decisions)
    assert first == second
