"""A local day of many experiments, settled together: what stood over a market's units is found out once for all.

Each experiment that asks gets its place on a sheet, one column a unit; a market is read for all of them at once, and
each experiment then takes its row of the sheet whole. A thousand small experiments cost little more than one large one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.market_book import Book
from analysis.panel_data.panel import IntArray
from analysis.panel_data.settlement import Settled, Span, settled
from analysis.panel_data.study import EMPTY, NARROW, Study
from controller.time.periods import period

#: an experiment's array -> its values on one day
Cells = dict[str, NDArray[Any]]
#: study, market, how often its rows and closing were revised, how late arms came
Note = tuple[Study, str, int, NDArray[np.float32]]


def settle_day(books: Mapping[str, Book], day: date, wanted: Mapping[Study, Sequence[str]]) -> None:
    """Write a day of some experiments into their arrays; ``wanted``: the markets of each in which it is not settled."""
    if len(wanted) == 1:  # a sheet would copy for nothing
        for study, markets in wanted.items():
            for market in markets:
                found = _settled([study], books[market], market, day)
                study.write(day, study.columns[market], found.cells)
                revised = int(found.revised.sum(dtype=np.int64)) + _closed(books[market], day)
                study.note(market, day, revised, found.lags)
        return
    ends = np.cumsum([len(study.units) for study in wanted]).tolist()
    places = dict(zip(wanted, [0, *ends[:-1]], strict=True))
    asking: defaultdict[tuple[str, str, bool, tuple[int, ...]], list[Study]] = defaultdict(list)
    for study, markets in wanted.items():
        begun, arms, zones = day >= study.first_day, tuple(study.arm_numbers), study.roster.time_zones
        for market in markets:
            asking[market, zones[market], begun, arms].append(study)
    sheet, notes = _read(books, day, asking, places, ends[-1])
    for study, markets in wanted.items():
        place = places[study]
        whole = len(markets) == len(study.columns)
        for columns in (slice(0, len(study.units)),) if whole else [study.columns[market] for market in markets]:
            ours = slice(place + columns.start, place + columns.stop)
            study.write(day, columns, {name: values[ours] for name, values in sheet.items()})
    # Only now: what is noted counts as settled, and what fails before is settled again.
    for study, market, revised, lags in notes:
        study.note(market, day, revised, lags)


def _read(
    books: Mapping[str, Book],
    day: date,
    asking: Mapping[tuple[str, str, bool, tuple[int, ...]], list[Study]],
    places: Mapping[Study, int],
    width: int,
) -> tuple[Cells, list[Note]]:
    """The sheet, read market by market, and what is noted beside the cells."""
    notes: list[Note] = []
    parts: list[tuple[IntArray, Cells]] = []
    for (market, *_), studies in asking.items():
        book = books[market]
        found = _settled(studies, book, market, day)
        columns = [study.columns[market] for study in studies]
        length = np.array([one.stop - one.start for one in columns])
        begin = np.cumsum(length) - length
        start = np.array([places[study] + one.start for study, one in zip(studies, columns, strict=True)])
        parts.append((np.repeat(start - begin, length) + np.arange(int(length.sum())), _narrow(found.cells)))
        revised = (np.add.reduceat(found.revised, begin, dtype=np.int64) + _closed(book, day)).tolist()
        bounds = np.searchsorted(found.lagged, [*begin, int(length.sum())]) if len(found.lags) else None
        for k, study in enumerate(studies):
            lags = found.lags if bounds is None else found.lags[bounds[k] : bounds[k + 1]]
            notes.append((study, market, revised[k], lags))
    sheet: Cells = {
        name: np.empty(width, np.result_type(type(empty), *{part[name].dtype for _, part in parts}))
        for name, empty in EMPTY.items()
    }
    for where, part in parts:
        for name, values in part.items():
            sheet[name][where] = values
    return sheet, notes


def _narrow(cells: Cells) -> Cells:
    """Amounts as narrow as a study keeps them, where they fit: then no study need look again."""
    return {
        name: values.astype(kind) if (kind := EMPTY[name].dtype) in NARROW and _fits(values, kind) else values
        for name, values in cells.items()
    }


def _fits(values: NDArray[Any], kind: np.dtype[Any]) -> bool:
    limit = np.iinfo(kind)
    return bool(len(values) and limit.min <= values.min() and values.max() <= limit.max)


def _settled(studies: Sequence[Study], book: Book, market: str, day: date) -> Settled:
    """Experiments of which the first is like the others: time zone of the market, arms, and whether they have begun."""
    first = studies[0]
    alone = len(studies) == 1
    slots = [study.slots(market, book.rows) for study in studies]
    numbers = first.number if alone else np.repeat([study.number for study in studies], [len(one) for one in slots])
    found = period(day, first.roster.time_zones[market])
    return settled(
        book,
        slots[0] if alone else np.concatenate(slots),
        day,
        Span.of(found) if found.exists else None,
        numbers,
        first.arm_numbers,
        begun=day >= first.first_day,
    )


def _closed(book: Book, day: date) -> int:
    """The revision of a day's closing."""
    closing = book.closings.get(day)
    return closing.revision if closing else 0
