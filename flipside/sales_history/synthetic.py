"""A history that resembles the owner's, as the same kind of table: read, drawn, written."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis.heterogeneity.synthetic.history import Shocks, synthesize
from analysis.heterogeneity.synthetic.moments import Moment, moments
from analysis.heterogeneity.synthetic.sold import Sold
from analysis.panel_data.panel import FloatArray
from controller.definition.field_types import market_of, product_of
from controller.errors import FlipsideError
from flipside.sales_history.history import as_arrays, read_history
from flipside.sales_history.unit_periods import UnitPeriods

#: what is written into the folder
SALES, MOMENTS = "sales.csv", "moments.json"
WEEK = 7


@dataclass(frozen=True, slots=True)
class Source:
    """A history as arrays, with the names of its units and periods."""

    units: tuple[str, ...]
    #: column of the period, and its label in each
    time: str
    labels: tuple[str, ...]
    sold: Sold


def from_folder(path: Path) -> Source:
    """A folder with brands.csv: weeks, prices and all."""
    history = read_history(path)
    sold = as_arrays(history)
    labels = tuple(str(number) for number in range(1, len(sold.quantity) + 1))
    return Source(sold.units, "week", labels, _sold(sold.units, sold.quantity, sold.price, WEEK, 0))


def from_periods(periods: UnitPeriods) -> Source:
    """An owner's table; a price that is not known on a day without a sale is the last known one."""
    price = None if periods.price is None else _carried(periods.price)
    first = 0 if periods.days is None else periods.days[0].weekday()
    labels = periods.labels if periods.days is not None else tuple(label.split()[-1] for label in periods.labels)
    weekly = periods.period_days == WEEK
    time = "date" if periods.days is not None else "week" if weekly else "day"
    return Source(
        periods.units, time, labels, _sold(periods.units, periods.quantity, price, periods.period_days, first)
    )


def _sold(
    units: Sequence[str], quantity: FloatArray, price: FloatArray | None, period_days: int, first_weekday: int
) -> Sold:
    stores = np.unique([market_of(unit) for unit in units], return_inverse=True)[1]
    products = np.unique([product_of(unit) for unit in units], return_inverse=True)[1]
    return Sold(
        stores.astype(np.int64), products.astype(np.int64), quantity, price, period_days, first_weekday=first_weekday
    )


def _carried(price: FloatArray) -> FloatArray:
    """Each gap filled with the last price before it."""
    known = np.isfinite(price)
    last = np.maximum.accumulate(np.where(known, np.arange(len(price))[:, None], -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(price, np.maximum(last, 0), axis=0), np.nan)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and how alike it is."""

    path: Path
    rows: int
    moments: tuple[Moment, ...]


def write_synthetic(source: Source, out: Path, rng: np.random.Generator, shocks: Shocks) -> Written:
    """Draw, compare, write ``sales.csv`` and ``moments.json``.

    Raises:
        NotEstimable: a history that is too short, or too few stores.
        FlipsideError: a folder that holds a source, or cannot be written to.

    """
    if (out / "brands.csv").exists():
        raise FlipsideError(f"{out} holds a sales history: name another folder")
    drawn = synthesize(source.sold, rng, shocks)
    compared = moments(source.sold, drawn)
    try:
        out.mkdir(parents=True, exist_ok=True)
        rows = _write_sales(source, drawn, out / SALES)
        shown = [{**asdict(one), "error": one.error, "kept": one.kept} for one in compared]
        (out / MOMENTS).write_text(json.dumps(shown, indent=2) + "\n")
    except OSError as error:
        raise FlipsideError(f"cannot write to {out}: {error.strerror or error}; name another folder") from error
    return Written(out / SALES, rows, compared)


def _write_sales(source: Source, drawn: Sold, path: Path) -> int:
    rows = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        priced = drawn.price is not None
        writer.writerow(["store", "product", source.time, "quantity", *(["price"] if priced else [])])
        for t, label in enumerate(source.labels):
            for unit in np.flatnonzero(np.isfinite(drawn.quantity[t])):
                store, _, product = source.units[unit].partition("/")
                price = [] if drawn.price is None else [_price(drawn.price[t, unit])]
                writer.writerow([store, product, label, int(drawn.quantity[t, unit]), *price])
                rows += 1
    return rows


def _price(price: float) -> str:
    return f"{max(price, 0.01):.2f}" if np.isfinite(price) else ""
