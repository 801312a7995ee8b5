"""The ledger: which arm a unit-day had, what is left out and why, and that order and repetition do not matter."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.panel_data.ledger import Ledger
from analysis.panel_data.study import State
from analysis.worker.analyse import due
from controller.definition.field_types import Message
from controller.messages.events import Assignment, PeriodClosed, UnitDay
from controller.time.periods import period
from tests.analysis.panel_data.revisions import revised
from tests.analysis.traffic import START, assignment, closing, experiment, history, registered, unit_day

DAY = START + timedelta(days=1)
NEXT = DAY + timedelta(days=1)


def ledger_of(messages: list[Message]) -> Ledger:
    ledger = Ledger()
    for message in messages:
        ledger.fold(message)
    return ledger


def published(ledger: Ledger) -> list[str]:
    """Every estimate of every step, every sequence and every check, to the last byte."""
    return [finding.model_dump_json() for finding in due(ledger, {})]


SMALL = experiment(markets=4, products=2, days=4)
MESSAGES = revised(SMALL)
PUBLISHED = published(ledger_of(MESSAGES))


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(len(MESSAGES))), again=st.lists(st.integers(0, len(MESSAGES) - 1), max_size=20))
def test_any_order_and_any_repetition_give_the_same_bytes(order: list[int], again: list[int]) -> None:
    assert published(ledger_of([MESSAGES[k] for k in [*order, *again]])) == PUBLISHED


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(len(MESSAGES))), looks=st.sets(st.integers(0, len(MESSAGES) - 1), max_size=6))
def test_looking_in_between_changes_nothing_that_comes_later(order: list[int], looks: set[int]) -> None:
    ledger = Ledger()
    for position, k in enumerate(order):
        ledger.fold(MESSAGES[k])
        if position in looks:
            published(ledger)
    assert published(ledger) == PUBLISHED


def test_a_revision_gives_what_the_final_rows_would_have_given_at_once() -> None:
    rows = {(m.unit, m.day): m for m in MESSAGES if isinstance(m, UnitDay)}
    at_once = [m for m in MESSAGES if not isinstance(m, UnitDay) or rows[m.unit, m.day] is m]
    assert published(ledger_of(at_once)) == PUBLISHED


def never(market: str) -> tuple[date, ...]:
    """Nothing was sold before the start."""
    return ()


def state_after(*messages: Message, unit: str = "m00/p0", day: date = DAY) -> int:
    """The arm or State of one unit-day, once every market of a small experiment is closed."""
    definition = experiment(markets=2, products=1, days=3)
    days = [definition.start + timedelta(days=k) for k in range(3)]
    closed = [closing(definition, market, on) for market in ("m00", "m01") for on in days]
    sold = [unit_day(definition, one, on, 5) for one in definition.units for on in days]
    ledger = ledger_of([registered(definition), *messages, *sold, *closed])
    (study,) = ledger.studies.values()
    through = ledger.horizon(study)
    assert through == days[-1]
    ledger.settle(study, through)
    found = study.unit_days(through)
    return int(found.state[(day - found.first_day).days, study.units.index(unit)])


TWO = experiment(markets=2, products=1, days=3)
SPAN = period(DAY, "Europe/Vienna")
NOON = SPAN.start + timedelta(hours=12)


def held(day: date = DAY, arm: str = "low", code: str = "scheduled", **more: object) -> Assignment:
    return assignment(TWO, "m00/p0", day, arm, code, **more)


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([held()], 1),
        ([held(arm="control")], 0),
        ([held(), held()], 1),
        # one assignment may hold over several days
        ([held(START, expires_at=SPAN.end)], 1),
        ([held(expires_at=None)], 1),
        # what counts at the first instant is the assignment that came into force last
        ([held(START, expires_at=SPAN.end), held(arm="control")], 0),
        ([held(), held(arm="control", id="again", sequence=9)], 0),
        ([held(arm="control", id="again", sequence=9), held()], 0),
        ([], State.UNDELIVERED),
        ([held(START)], State.UNDELIVERED),
        ([held(NEXT)], State.UNDELIVERED),
        ([held(experiment="other")], State.UNDELIVERED),
        ([held(experiment_version=2)], State.UNDELIVERED),
        ([held(effective_at=NOON)], State.PARTIAL),
        ([held(expires_at=NOON)], State.PARTIAL),
        ([held(), held(arm="control", id="stop", effective_at=NOON, expires_at=None, sequence=9)], State.PARTIAL),
        ([held(code="blackout", planned_arm="control")], State.BLACKOUT),
        ([held(arm="control", code="released", expires_at=None)], State.RELEASED),
        ([held(arm="control", code="limit", planned_arm="low")], State.LIMIT),
        ([held(arm="control", code="dropped", planned_arm="low")], State.DROPPED),
        ([held(arm="unheard-of")], State.UNDELIVERED),
    ],
)
def test_the_arm_of_a_unit_day_is_known_only_where_one_assignment_holds_over_the_whole_local_day(
    messages: list[Message], state: int
) -> None:
    assert state_after(*messages) == state


def test_a_day_counts_only_once_all_rows_and_events_that_its_closing_promised_were_read() -> None:
    definition = experiment(markets=2, products=2, days=2)
    messages = history(definition)
    last = messages.index(unit_day_of(messages, "m01/p1", START))
    row = messages.pop(last)
    ledger = ledger_of(messages)
    (study,) = ledger.studies.values()
    assert ledger.horizon(study) is None
    assert ledger.waiting() == {"m01": (START,)}
    ledger.fold(row)
    assert ledger.horizon(study) == study.last_day
    assert ledger.waiting() == {}


def unit_day_of(messages: list[Message], unit: str, day: date) -> UnitDay:
    return next(m for m in messages if isinstance(m, UnitDay) and (m.unit, m.day) == (unit, day))


def test_a_closed_day_settles_its_own_cells_and_no_others() -> None:
    definition = experiment(markets=2, products=1, days=3)
    ledger = ledger_of(history(definition))
    (study,) = ledger.studies.values()
    ledger.settle(study, study.last_day)
    assert list(study.unsettled(study.last_day, never)) == []
    ledger.fold(unit_day(definition, "m01/p0", DAY, 8, revision=1))
    ledger.tell(ledger.books)
    assert list(study.unsettled(study.last_day, never)) == [("m01", DAY)]


def test_a_local_day_that_does_not_exist_is_no_cell_at_all() -> None:
    definition = experiment(markets=2, products=1, days=3, time_zone="Pacific/Apia", start=date(2011, 12, 29))
    ledger = ledger_of([m for m in history(definition) if not skipped(m)])
    (study,) = ledger.studies.values()
    ledger.settle(study, study.last_day)
    assert np.all(study.unit_days(study.last_day).state[1] == State.UNSETTLED)
    assert [str(day) for day in study.days(None, study.last_day)] == ["2011-12-29", "2011-12-31"]


def skipped(message: Message) -> bool:
    return getattr(message, "day", None) == date(2011, 12, 30)


def test_experiments_that_share_their_markets_are_counted_as_if_each_were_alone() -> None:
    one = experiment(markets=4, products=2, days=4, name="one")
    two = experiment(
        markets=4, products=0, days=4, name="two", units=tuple(f"m{m:02d}/q{p}" for m in range(4) for p in range(3))
    )
    messages = [*history(one), *history(two, seed=2)]
    alone = {
        name: published(ledger_of(list(history(plan, seed=seed))))
        for name, plan, seed in (("one", one, 1), ("two", two, 2))
    }

    def whole_closings() -> list[Message]:
        """A market's day is closed once, with the unit-days of both."""
        kept = [message for message in messages if not isinstance(message, PeriodClosed)]
        days = [one.start + timedelta(days=k) for k in range(4)]
        closed = [closing(one, market, day) for day in days for market in one.units_by_market()]
        return [*kept, *(message.model_copy(update={"unit_days": 5, "events": 5}) for message in closed)]

    together = published(ledger_of(whole_closings()))
    for name, findings in alone.items():
        assert [found for found in together if f'"experiment":"{name}"' in found] == findings


def test_an_amount_beyond_thirty_one_bits_is_counted_to_the_last_cent() -> None:
    definition = experiment(markets=2, products=1, days=3)
    large = 10**9 - 1  # three times that are more than 2^31
    sold = [unit_day(definition, "m00/p0", definition.start, large, revision=1)]
    ledger = ledger_of([*history(definition), *sold])
    (study,) = ledger.studies.values()
    through = ledger.horizon(study)
    assert through is not None
    ledger.settle(study, through)
    days = study.unit_days(through)
    assert days.quantity[0, 0] == large
    assert days.revenue[0, 0] == 3 * large
    assert (days.revenue[1:] < 10_000).all()
