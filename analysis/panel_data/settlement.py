"""From assignments and reports to the cells of a day: the arm that was held, and the one that was live. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.assignment_columns import NOTHING, Holds, Integers, microseconds
from analysis.panel_data.market_book import Book
from analysis.panel_data.panel import IntArray
from analysis.panel_data.sales_columns import Unseen, unseen
from analysis.panel_data.study import NOT_REPORTED, OTHER_ARM, State, number_of
from controller.time.periods import Period

#: the longest part of a day for which the wrong arm may have been live
MOST_WRONG_SHARE = 0.05
#: where an assignment holds over the day but not by the design's draw: code -> state
BY_CODE: dict[str, State] = {
    "blackout": State.BLACKOUT,
    "released": State.RELEASED,
    "limit": State.LIMIT,
    "dropped": State.DROPPED,
    "late": State.UNDELIVERED,
}
CODES: dict[int, State] = {number_of(code): state for code, state in BY_CODE.items()}
#: the code of a release; what the catalog says of stock
RELEASED, EMPTY, FULL = crc32(b"released"), 1, 0


@dataclass(frozen=True, slots=True)
class Span:
    """A local day, in microseconds since 1970."""

    start: int
    end: int

    @classmethod
    def of(cls, day: Period) -> "Span":
        return cls(microseconds(day.start), microseconds(day.end))


@dataclass(frozen=True, slots=True)
class Settled:
    """A day of some units of a market."""

    #: an experiment's array -> (n,)
    cells: dict[str, NDArray[Any]]
    #: seconds from the first instant of the day to each change that took a unit to its arm, and which unit that was
    lags: NDArray[np.float32]
    lagged: Integers
    #: (n,) how often each row was revised
    revised: NDArray[np.int32]


def settled(
    book: Book,
    slots: IntArray,
    day: date,
    span: Span | None,
    study: int | Integers,
    arms: Mapping[int, int],
    *,
    begun: bool,
) -> Settled:
    """All that is kept of a day, of one experiment's units or of several experiments' one after the other.

    ``span``: None where the zone skipped the day. ``study``: the number of the experiment, or (n,) of each unit's;
    ``arms``: number of a name -> index; ``begun``: whether the day is no earlier than their first.
    """
    sold = book.rows.read(day, slots)
    cells: dict[str, NDArray[Any]] = {
        "observed": sold.revision >= 0,
        "unseen": unseen(sold.revision, Unseen.UNLISTED if zeros_known(book, day) else Unseen.UNOBSERVED),
        "quantity": sold.quantity,
        "revenue": sold.revenue,
        "cost": sold.cost,
        "events": sold.events,
        "late": sold.late,
        "corrected": sold.revision > 0,
        "live": np.full(len(slots), NOT_REPORTED, dtype=np.int8),
        "out_of_stock": np.full(len(slots), -1, dtype=np.int8),
        "stale_hours": np.full(len(slots), np.nan, dtype=np.float32),
    }
    lags, lagged = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
    if span is None:
        cells["state"] = np.full(len(slots), State.UNSETTLED, dtype=np.int8)
    elif not begun:
        cells["state"] = states_before(book.assignments, slots, span, RELEASED)
    else:
        cells["state"] = states(book.assignments, slots, span, study, arms, CODES)
        if book.reports.buckets:
            cells["live"], lags, lagged = live(book.reports, slots, span, cells["state"], arms)
        if book.stock.buckets:
            cells["out_of_stock"] = out_of_stock(book.stock, slots, span, EMPTY)
        if book.rivals.buckets:
            cells["stale_hours"] = stale_hours(book.rivals, slots, span)
    # a slot without a row counts for nothing
    return Settled(cells, lags, lagged, np.maximum(sold.revision, 0))


def zeros_known(book: Book, day: date) -> bool:
    """Whether the day's closing counts zeros: then a unit of which nothing was read was not listed."""
    closing = book.closings.get(day)
    return closing is not None and closing.zeros is not None


def states(
    holds: Holds,
    slots: IntArray,
    span: Span,
    study: int | Integers,
    arms: Mapping[int, int],
    codes: Mapping[int, State],
) -> NDArray[np.int8]:
    """(n,) the arm (index) that one assignment of a study gave each slot over the whole of a day, or a State.

    ``study``: its number, or (n,) of each slot's; ``arms``: number of a name -> index; ``codes``: number of a code ->
    State.
    """
    stood = holds.standing(span.start, _most(slots))
    expires, of, arm, code = (column[slots] for column in (stood.expires_at, stood.study, stood.arm, stood.code))
    found = np.full(len(slots), State.UNDELIVERED, dtype=np.int8)
    held = (of == study) & (expires > span.start)
    for number, index in arms.items():
        found[held & (arm == number)] = index
    for number, state in codes.items():
        named = code == number
        if named.any():
            found[held & named] = state
    found[held & (expires < span.end)] = State.PARTIAL
    later = holds.during(span.start, span.end)["slot"]
    if len(later):
        found[np.isin(slots, later)] = State.PARTIAL
    return found


def states_before(holds: Holds, slots: IntArray, span: Span, released: int) -> NDArray[np.int8]:
    """(n,) whether a unit sold at list price over the whole of a day before the experiment began."""
    stood = holds.standing(span.start, _most(slots))
    held = (stood.study[slots] != NOTHING) & (stood.expires_at[slots] > span.start) & (stood.code[slots] != released)
    later = holds.during(span.start, span.end)
    other = np.isin(slots, later["slot"][later["code"] != released])
    return np.where(held | other, State.OTHER_EXPERIMENT, State.PRE_PERIOD).astype(np.int8)


def live(
    reports: Holds, slots: IntArray, span: Span, assigned: NDArray[np.int8], arms: Mapping[int, int]
) -> tuple[NDArray[np.int8], NDArray[np.float32], Integers]:
    """(n,) the arm that was live; the seconds from midnight to each change that took a unit to its arm, and its place.

    A pricing system says what it shows when it changes; what it said last still holds. The assigned arm counts as live
    where another one was for at most ``MOST_WRONG_SHARE`` of the day: then its cell is what it is taken for.
    """
    before = reports.standing(span.start - 1, _most(slots)).arm
    changes = reports.during(span.start - 1, span.end)
    change, cell = _matches(changes["slot"], slots)
    at, arm = changes["effective_at"][change], _indices(changes["arm"][change], arms)
    order = np.lexsort((at, cell))
    cell, at, arm = cell[order], at[order], arm[order]
    first = np.r_[True, cell[1:] != cell[:-1]][: len(cell)]
    until = np.where(np.r_[first[1:], True][: len(cell)], span.end, np.r_[at[1:], span.end][: len(cell)])

    shown = _indices(before[slots], arms)
    begun = np.full(len(slots), span.end, dtype=np.int64)
    begun[cell[first]] = at[first]
    wrong = np.where((shown != assigned) & (shown != NOT_REPORTED), begun - span.start, 0)
    wrong = wrong + np.bincount(cell, np.where(arm != assigned[cell], until - at, 0), minlength=len(slots))
    known = (shown != NOT_REPORTED) | (begun < span.end)
    right = wrong <= MOST_WRONG_SHARE * (span.end - span.start)
    found = np.where(known, np.where(right, assigned, OTHER_ARM), NOT_REPORTED).astype(np.int8)

    taking = (arm == assigned[cell]) & (shown[cell] != assigned[cell])
    once = np.unique(cell[taking], return_index=True)[1]
    return found, ((at[taking][once] - span.start) / 1e6).astype(np.float32), cell[taking][once]


def _matches(changed: Integers, slots: Integers) -> tuple[Integers, Integers]:
    """Each change of a slot that is asked for, with its place: as often as experiments ask for the slot."""
    order = np.argsort(slots, kind="stable")
    begin, end = (np.searchsorted(slots[order], changed, side) for side in ("left", "right"))
    times = end - begin
    change = np.repeat(np.arange(len(changed)), times)
    return change, order[np.repeat(begin - (np.cumsum(times) - times), times) + np.arange(len(change))]


def out_of_stock(stock: Holds, slots: IntArray, span: Span, empty: int) -> NDArray[np.int8]:
    """(n,) 1 where a unit could not be bought at some time of a day, 0 where it could, -1 where unknown."""
    stood = stock.standing(span.start, _most(slots)).arm[slots]
    changes = stock.during(span.start, span.end)
    found = np.where(stood == NOTHING, -1, stood == empty).astype(np.int8)
    found[np.isin(slots, changes["slot"][changes["arm"] != empty]) & (found < 0)] = 0
    found[np.isin(slots, changes["slot"][changes["arm"] == empty])] = 1
    return found


def stale_hours(rivals: Holds, slots: IntArray, span: Span) -> NDArray[np.float32]:
    """(n,) age of the newest rival's price at the first instant of a day; NaN where none was ever seen."""
    seen = rivals.standing(span.start, _most(slots)).expires_at[slots]
    return np.where(seen == NOTHING, np.nan, (span.start - seen) / 3.6e9).astype(np.float32)


def _most(slots: IntArray) -> int:
    return int(slots.max()) + 1 if len(slots) else 0


def _indices(numbers: Integers, arms: Mapping[int, int]) -> Integers:
    """Numbers of names -> indices of arms; OTHER_ARM where the experiment has no such arm."""
    found = np.where(numbers == NOTHING, NOT_REPORTED, OTHER_ARM).astype(np.int64)
    for number, index in arms.items():
        found[numbers == number] = index
    return found
