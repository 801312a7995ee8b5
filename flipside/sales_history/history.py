"""Sales histories: what a shop sold, week by week, in the layout of a folder of CSV files.

``sales.csv`` or ``sales.csv.gz``: store, brand, week, ounces, price_per_ounce, profit_percent (others are ignored);
``brands.csv``: brand, ounces_per_pack. A store becomes a market, a brand a product, a data week one period.
"""

import csv
import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from analysis.panel_data.panel import FloatArray
from controller.definition.field_types import market_of
from controller.definition.money import major
from controller.errors import FlipsideError
from controller.messages.inputs import CatalogEntry

CURRENCY = "USD"
TIME_ZONE = "America/Chicago"
SALES_COLUMNS = ("store", "brand", "week", "ounces", "price_per_ounce", "profit_percent")


class UnreadableHistory(FlipsideError):
    """The caller's: a folder is no sales history; the message names file, row and rule."""


@dataclass(frozen=True, slots=True)
class WeekOfSales:
    """What one unit sold in one period at the shop's own price."""

    unit: str
    packs: int
    price_minor: int
    #: None where nobody knows it
    cost_minor: int | None
    #: the cheapest other product of the same market, for a pack of this size
    rival: str | None
    rival_price_minor: int | None


@dataclass(frozen=True, slots=True)
class History:
    """Sales by period, and the catalog that they imply."""

    catalog: tuple[CatalogEntry, ...]
    #: one tuple a period, in time order; a unit that has no row sold nothing that is known
    periods: tuple[tuple[WeekOfSales, ...], ...]
    currency: str = CURRENCY
    #: days in a period: 7 where the owner has weeks
    period_days: int = 7
    #: local day of each period, where the owner's file has a calendar
    days: tuple[date, ...] | None = None
    #: how the file was read, a sentence each
    notes: tuple[str, ...] = ()

    def first(self, periods: int | None) -> "History":
        """The beginning of the history."""
        return self if periods is None else self.part(0, periods)

    def part(self, begin: int, end: int) -> "History":
        """Periods ``begin`` to before ``end``."""
        return replace(self, periods=self.periods[begin:end], days=None if self.days is None else self.days[begin:end])

    @property
    def time_zones(self) -> dict[str, str]:
        """Market -> its time zone."""
        return {market_of(entry.unit): entry.time_zone for entry in self.catalog}

    @property
    def rows(self) -> int:
        return sum(len(period) for period in self.periods)


@dataclass(frozen=True, slots=True)
class Arrays:
    """A history as arrays; NaN where a unit has no row in a period."""

    units: tuple[str, ...]
    #: packs (period, unit)
    quantity: FloatArray
    #: of a pack, in the currency's major unit (period, unit)
    price: FloatArray


def as_arrays(history: History) -> Arrays:
    """All units of the catalog, by name."""
    units = tuple(sorted(entry.unit for entry in history.catalog))
    column = {unit: number for number, unit in enumerate(units)}
    quantity = np.full((len(history.periods), len(units)), np.nan)
    price = quantity.copy()
    for row, sold in enumerate(history.periods):
        for one in sold:
            cell = row, column[one.unit]
            quantity[cell], price[cell] = one.packs, major(one.price_minor, history.currency)
    return Arrays(units, quantity, price)


@dataclass(frozen=True, slots=True)
class _Row:
    store: str
    brand: str
    week: int
    packs: int
    #: dollars an ounce
    price: float
    profit_percent: float
    ounces_per_pack: int

    @property
    def unit(self) -> str:
        return f"store-{self.store}/brand-{self.brand}"

    @property
    def price_minor(self) -> int:
        return max(1, round(self.price * self.ounces_per_pack * 100))


def read_history(folder: Path) -> History:
    """Read a folder; raises UnreadableHistory with file, row and rule."""
    brands = _brands(folder)
    rows = list(_rows(_sales_file(folder), brands))
    if not rows:
        raise UnreadableHistory(f"{folder}: no sales; a history needs at least one row")
    by_week: dict[int, list[_Row]] = {}
    for row in rows:
        by_week.setdefault(row.week, []).append(row)
    weeks = range(min(by_week), max(by_week) + 1)
    periods = tuple(tuple(_week(by_week.get(week, []))) for week in weeks)
    return History(tuple(_catalog(rows)), periods)


def _sales_file(folder: Path) -> Path:
    for name in ("sales.csv.gz", "sales.csv"):
        if (folder / name).is_file():
            return folder / name
    raise UnreadableHistory(f"{folder} holds no sales.csv or sales.csv.gz; see examples/sales for the layout")


def _brands(folder: Path) -> dict[str, int]:
    path = folder / "brands.csv"
    if not path.is_file():
        raise UnreadableHistory(f"{path} is missing: it tells the ounces of a pack of each brand")
    with path.open(newline="") as file:
        return {row["brand"]: int(row["ounces_per_pack"]) for row in csv.DictReader(file)}


def _rows(path: Path, brands: dict[str, int]) -> Iterator[_Row]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in SALES_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise UnreadableHistory(f"{path}: no column {', '.join(missing)}; needed are {', '.join(SALES_COLUMNS)}")
        for line, row in enumerate(reader, start=2):
            try:
                ounces_per_pack = brands[row["brand"]]
                yield _Row(
                    store=row["store"],
                    brand=row["brand"],
                    week=int(row["week"]),
                    packs=round(float(row["ounces"]) / ounces_per_pack),
                    price=float(row["price_per_ounce"]),
                    profit_percent=float(row["profit_percent"]),
                    ounces_per_pack=ounces_per_pack,
                )
            except KeyError as error:
                raise UnreadableHistory(f"{path}:{line}: brand {error} is not in brands.csv") from error
            except ValueError as error:
                raise UnreadableHistory(f"{path}:{line}: {error}; numbers are written 12.5") from error


def _week(rows: list[_Row]) -> Iterator[WeekOfSales]:
    cheapest: dict[str, list[_Row]] = {}
    for row in rows:
        cheapest.setdefault(row.store, []).append(row)
    for peers in cheapest.values():
        peers.sort(key=lambda row: (row.price, row.brand))
        del peers[2:]  # the cheapest, and the next for the cheapest itself
    for row in sorted(rows, key=lambda row: row.unit):
        rival = next((peer for peer in cheapest[row.store] if peer.brand != row.brand), None)
        yield WeekOfSales(
            unit=row.unit,
            packs=row.packs,
            price_minor=row.price_minor,
            cost_minor=max(0, round(row.price_minor * (1 - row.profit_percent / 100))),
            rival=None if rival is None else f"brand-{rival.brand}",
            rival_price_minor=None if rival is None else max(1, round(rival.price * row.ounces_per_pack * 100)),
        )


def _catalog(rows: Iterable[_Row]) -> Iterator[CatalogEntry]:
    """A unit's list price is the price of its first row."""
    first: dict[str, _Row] = {}
    for row in rows:
        held = first.get(row.unit)
        if held is None or row.week < held.week:
            first[row.unit] = row
    for unit in sorted(first):
        yield CatalogEntry(
            unit=unit,
            time_zone=TIME_ZONE,
            category="refrigerated-juice",
            currency=CURRENCY,
            list_price_minor=first[unit].price_minor,
        )
