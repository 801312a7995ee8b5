"""Zeros in the ledger: named by a record, replaced by a row, missing with a reason; the order of reading is nothing."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.export.tables import panel_of
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.sales_columns import NO_ROW, Rows, Unseen, spelled_missing, unseen
from analysis.worker.snapshot import Snapshot, load, save
from controller.definition.field_types import Message
from controller.messages.events import PeriodClosed, UnsoldUnits
from tests.analysis.traffic import START, assignments, closing, experiment, registered, unit_day

DAY = START
UNITS = ("m/a", "m/b", "m/c", "m/d")

#: what may be read of one day: (kind, units, revision, events)
READ = [
    ("row", (0,), 0, 2),
    ("row", (0,), 1, 3),
    ("zero", (0, 1, 2), 0, 0),
    ("silent", (3,), 0, 0),
    ("zero", (3,), 1, 0),
    ("closed", (1,), 2, 0),
    ("row", (2,), 1, 1),
]


def read(rows: Rows, kind: str, units: tuple[int, ...], revision: int, events: int) -> None:
    names = [UNITS[k] for k in units]
    if kind == "row":
        rows.put(names[0], DAY, 5 * events, 7 * events, None, events, revision, events - 1)
    else:
        reason = {"zero": Unseen.OBSERVED, "silent": Unseen.FEED_SILENT, "closed": Unseen.CLOSED}[kind]
        rows.put_unsold(names, DAY, revision, reason)


def held(rows: Rows) -> list[tuple[int, ...]]:
    day = rows.read(DAY, rows.slots_of(UNITS))
    said = unseen(day.revision, Unseen.UNLISTED)
    return list(zip(*(column.tolist() for column in (*day.columns(), said)), strict=True))


@settings(max_examples=200, deadline=None)
@given(order=st.permutations(READ), again=st.lists(st.sampled_from(READ), max_size=6))
def test_any_order_and_any_repetition_leave_the_same_cells(order: list, again: list) -> None:  # type: ignore[type-arg]
    rows = Rows()
    rows.slots_of(UNITS)
    for said in [*order, *again]:
        read(rows, *said)
    assert held(rows) == [
        (15, 21, -1, 3, 1, 2, Unseen.OBSERVED),
        (0, 0, -1, 0, spelled_missing(Unseen.CLOSED, 2), 0, Unseen.CLOSED),
        (5, 7, -1, 1, 1, 0, Unseen.OBSERVED),
        (0, 0, 0, 0, 1, 0, Unseen.OBSERVED),
    ]
    day = rows.days[DAY]
    assert (day.rows, day.total_events, day.zeros, day.missing) == (2, 4, 1, 1)


def test_a_row_beats_a_zero_whatever_the_revision_and_of_two_records_that_of_the_higher_one_stands() -> None:
    rows = Rows()
    read(rows, "zero", (0,), 9, 0)
    read(rows, "row", (0,), 0, 1)
    read(rows, "zero", (0,), 10, 0)
    read(rows, "zero", (1,), 1, 0)
    read(rows, "silent", (1,), 0, 0)
    day = rows.read(DAY, rows.slots_of(UNITS[:2]))
    assert (day.events.tolist(), day.revision.tolist()) == ([1, 0], [0, 1])


@pytest.mark.parametrize(
    ("promised", "met"),
    [
        # unit-days, events, zeros, missing
        ((2, 4, 1, 1), True),
        ((2, 4, 2, 1), False),
        ((2, 4, 1, 2), False),
        ((3, 4, 0, 1), False),
        ((2, 5, 1, 1), False),
        # a zero that has become a row since: what is observed is no less
        ((1, 3, 2, 1), True),
        # a missing unit that has become a zero since
        ((2, 4, 0, 2), True),
    ],
)
def test_a_day_is_whole_once_rows_zeros_and_missing_units_are_there(promised: tuple[int, ...], met: bool) -> None:
    rows = Rows()
    for said in READ:
        read(rows, *said)
    assert rows.met(DAY, *promised) is met


def test_a_day_of_which_nothing_was_read_is_whole_only_where_nothing_was_promised() -> None:
    assert Rows().met(DAY, 0, 0)
    assert not Rows().met(DAY, 0, 0, 1)
    assert not Rows().met(DAY, 0, 0, 0, 1)


# --- through the ledger ----------------------------------------------------------------------------------------------

DEFINITION = experiment(markets=2, products=4, days=2)
MARKET = "m01"


def closed(day: date, *, old: bool = False, **more: object) -> PeriodClosed:
    found = closing(DEFINITION, MARKET, day)
    said = {} if old else {"zeros": 1, "missing": {"feed_silent": 1}}
    return found.model_copy(update={"unit_days": 1, "events": 1, **said, **more})


def unsold(day: date, revision: int = 0) -> UnsoldUnits:
    return UnsoldUnits(
        market=MARKET, day=day, part=0, zeros=("p1",), missing={"feed_silent": ("p2",)}, revision=revision
    )


def messages(*, old: bool = False) -> list[Message]:
    """Of one market: a row, a zero, a silent unit and one that was not listed, on each of two days."""
    found: list[Message] = [registered(DEFINITION), *assignments(DEFINITION)]
    for day in (START, START + timedelta(days=1)):
        found += [] if old else [unsold(day)]
        found += [unit_day(DEFINITION, f"{MARKET}/p0", day, 4), closed(day, old=old)]
        found.append(closing(DEFINITION, "m00", day).model_copy(update={"unit_days": 0, "events": 0, "zeros": 0}))
    return found


def ledger_of(said: list[Message]) -> Ledger:
    ledger = Ledger()
    for message in said:
        ledger.fold(message)
    return ledger


def cells(ledger: Ledger, through: date = START + timedelta(days=1)) -> dict[str, list[tuple[bool, int, Unseen]]]:
    """Product of the market -> observed, quantity and why not, day by day."""
    (study,) = ledger.studies.values()
    ledger.settle(study, through)
    days = study.unit_days(through)
    return {
        unit.partition("/")[2]: [
            (bool(o), int(q), Unseen(int(u)))
            for o, q, u in zip(
                days.observed[:, k], days.quantity[:, k], days.unseen[:, k], strict=True
            )
        ]
        for k, unit in enumerate(study.units)
        if unit.startswith(MARKET)
    }  # fmt: skip


EXPECTED = {
    "p0": [(True, 4, Unseen.OBSERVED)] * 2,
    "p1": [(True, 0, Unseen.OBSERVED)] * 2,
    "p2": [(False, 0, Unseen.FEED_SILENT)] * 2,
    "p3": [(False, 0, Unseen.UNLISTED)] * 2,
}


def test_the_ledger_holds_zeros_and_says_why_nothing_is_known_of_the_others() -> None:
    assert cells(ledger_of(messages())) == EXPECTED


def test_of_closings_from_before_zeros_were_told_a_unit_without_a_row_is_unobserved() -> None:
    found = cells(ledger_of(messages(old=True)))
    assert found["p0"] == EXPECTED["p0"]
    assert {why for product in ("p1", "p2", "p3") for _, _, why in found[product]} == {Unseen.UNOBSERVED}


def test_a_closed_day_is_waited_for_until_its_unsold_units_are_read() -> None:
    said = [m for m in messages() if not isinstance(m, UnsoldUnits)]
    ledger = ledger_of(said)
    (study,) = ledger.studies.values()
    assert ledger.horizon(study) is None
    ledger.fold(unsold(START))
    assert ledger.horizon(study) == START


def test_a_late_row_takes_the_place_of_a_zero_and_a_revision_makes_zeros_of_a_silent_feed() -> None:
    ledger = ledger_of(messages())
    cells(ledger)
    ledger.fold(unit_day(DEFINITION, f"{MARKET}/p1", START, 9, revision=1))
    ledger.fold(UnsoldUnits(market=MARKET, day=START, part=0, zeros=("p2",), revision=1))
    ledger.fold(closed(START, revision=1, unit_days=2, events=2, zeros=1, missing={}))
    found = cells(ledger)
    assert [found[product][0] for product in ("p1", "p2")] == [(True, 9, Unseen.OBSERVED), (True, 0, Unseen.OBSERVED)]
    assert [found[product][1] for product in ("p1", "p2")] == [EXPECTED["p1"][1], EXPECTED["p2"][1]]


def test_a_snapshot_keeps_zeros_and_reasons(tmp_path: Path) -> None:
    save(tmp_path, Snapshot(ledger_of(messages()), {}, ()))
    found = load(tmp_path)
    assert found is not None
    assert cells(found.ledger) == EXPECTED
    day = found.ledger.books[MARKET].rows.days[START]
    assert (day.rows, day.zeros, day.missing) == (1, 1, 1)


def test_an_exported_panel_counts_zeros_and_names_the_reason_of_each_other() -> None:
    ledger = ledger_of(messages())
    (study,) = ledger.studies.values()
    ledger.settle(study, START)
    panel = panel_of(study, START, START, {}).to_pylist()
    assert [(r["status"], r["quantity"], r["revenue_minor"]) for r in panel if r["market"] == MARKET] == [
        ("counted", 4, 12), ("counted", 0, 0), ("feed_silent", None, None), ("unlisted", None, None),
    ]  # fmt: skip


def test_nothing_was_read_is_spelled_apart_from_every_reason() -> None:
    column = np.array([NO_ROW, *(spelled_missing(r, k) for r in (Unseen.FEED_SILENT, Unseen.CLOSED) for k in (0, 1))])
    assert unseen(column.astype(np.int32), Unseen.UNLISTED).tolist() == [4, 2, 2, 3, 3]
