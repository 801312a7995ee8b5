"""A table of sales with the catalog: which units take part, at which price, in which currency; as histories."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from analysis.panel_data.panel import FloatArray
from analysis.planning.candidates import Clusters
from analysis.planning.rehearsal import History as Rehearsal
from controller.definition.field_types import market_of
from controller.definition.metrics import Metric
from controller.definition.money import NO_CURRENCY, minor_digits
from controller.errors import FlipsideError
from controller.messages.inputs import CatalogEntry
from flipside.documents import read_lines
from flipside.sales_history.columns import SalesColumns
from flipside.sales_history.faults import UnreadableSales, first_few
from flipside.sales_history.history import History, WeekOfSales
from flipside.sales_history.sales_table import read_table
from flipside.sales_history.unit_periods import UnitPeriods, summed

#: stands in for the list price of a unit whose price nobody knows
UNKNOWN_PRICE = 1.0
ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class OwnSales:
    """Sales of units that a catalog has, in one currency or, where only pieces count, in several."""

    periods: UnitPeriods
    #: of each unit, in the order of ``periods.units``; made from the sales where no catalog is given
    catalog: tuple[CatalogEntry, ...]
    #: XXX where nobody says
    currencies: tuple[str, ...]
    #: how it was read, and what was left out; a sentence each, some begin with "warning:"
    notes: tuple[str, ...]

    def currency(self, what: str) -> str:
        """The one currency; raises FlipsideError with the way out where there are several."""
        if len(self.currencies) > 1:
            raise FlipsideError(
                f"{what} is in one currency, the sales are in {', '.join(self.currencies)}: choose one with"
                f" --currency {self.currencies[0]}, or stores with --market"
            )
        return self.currencies[0]


def read_own(
    path: Path,
    *,
    columns: SalesColumns | None = None,
    catalog: Path | None = None,
    currency: str | None = None,
    markets: Collection[str] = (),
    unnamed: str = NO_CURRENCY,
) -> OwnSales:
    """Read, sum and match with the catalog.

    ``currency``: only units in it; of sales that name none, without a catalog, theirs. ``unnamed``: theirs where
    ``currency`` is not given either.

    Raises:
        FlipsideError: a broken rule of the table or the catalog, no unit in both, or currencies that do not agree.
    """
    table = path / "sales.csv" if path.is_dir() else path
    if currency is not None and re.fullmatch("[A-Z]{3}", currency) is None:
        raise FlipsideError(f"--currency {currency}: a currency code is three capital letters, as EUR")
    periods = summed(read_table(table, columns))
    notes = list(periods.notes)
    entries = None if catalog is None else {entry.unit: entry for entry in read_lines(catalog, CatalogEntry)}
    if entries is not None:
        notes += _unmatched(table, periods.units, entries)
        periods = periods.only(set(periods.units) & set(entries))
        _refuse_other_currencies(table, periods, entries)
    if markets:
        _refuse_unknown("--market", markets, {market_of(unit) for unit in periods.units})
        periods = periods.only({unit for unit in periods.units if market_of(unit) in markets})
    if currency is not None and entries is None and not periods.currency:
        unnamed = currency
    listed = tuple(entries[u] for u in periods.units) if entries is not None else _made_up(periods, unnamed)
    if currency is not None:
        _refuse_unknown("--currency", (currency,), {entry.currency for entry in listed})
        kept = [entry for entry in listed if entry.currency == currency]
        if len(kept) < len(listed):
            notes.append(f"{len(listed) - len(kept):,} units in other currencies than {currency} are left out")
        listed, periods = tuple(kept), periods.only({entry.unit for entry in kept})
    if entries is None:
        notes.append(f"no --catalog: list prices are the last ones sold at, days are those of {ZONE}")
    return OwnSales(periods, listed, tuple(sorted({entry.currency for entry in listed})), tuple(notes))


def _unmatched(path: Path, sold: Sequence[str], entries: dict[str, CatalogEntry]) -> list[str]:
    strangers = sorted(set(sold) - set(entries))
    unsold = sorted(set(entries) - set(sold))
    if len(strangers) == len(sold):
        raise UnreadableSales(
            f"{path}: none of its {len(sold):,} units is in the catalog: it has {first_few(sorted(sold))}, the catalog"
            f" {first_few(sorted(entries))}; both spell a unit store/product"
        )
    notes = []
    if strangers:
        notes.append(
            f"warning: {len(strangers):,} units of the sales are not in the catalog and left out:"
            f" {first_few(strangers)}; add them to the catalog"
        )
    if unsold:
        notes.append(
            f"warning: {len(unsold):,} units of the catalog have no sales and left out: {first_few(unsold)}; an"
            " experiment that selects them counts zeros"
        )
    return notes


def _refuse_other_currencies(path: Path, periods: UnitPeriods, entries: dict[str, CatalogEntry]) -> None:
    wrong = [unit for unit, code in periods.currency.items() if entries[unit].currency != code]
    if wrong:
        unit = wrong[0]
        raise UnreadableSales(
            f"{path}: {len(wrong):,} units are sold in another currency than the catalog has, {first_few(wrong)}:"
            f" {unit} in {periods.currency[unit]}, the catalog says {entries[unit].currency}; mend one of them"
        )


def _refuse_unknown(option: str, asked: Collection[str], there: Collection[str]) -> None:
    unknown = sorted(set(asked) - set(there))
    if unknown:
        raise FlipsideError(f"{option} {unknown[0]} is not in the history; it has {first_few(sorted(there))}")


def _made_up(periods: UnitPeriods, unnamed: str) -> tuple[CatalogEntry, ...]:
    """A catalog that the sales imply: the last known price of each unit is its list price."""
    entries = []
    for column, unit in enumerate(periods.units):
        currency = periods.currency.get(unit, unnamed)
        price = _last(periods.price, column)
        if price == 0:
            raise UnreadableSales(
                f"{unit} was only ever sold at a price of zero: no experiment can change that; leave it out"
            )
        cost = _last(periods.cost, column)
        entries.append(
            CatalogEntry(
                unit=unit,
                time_zone=ZONE,
                currency=currency,
                list_price_minor=minor(UNKNOWN_PRICE if price is None else price, currency),
                cost_minor=None if cost is None else minor(cost, currency),
            )
        )
    return tuple(entries)


def _last(values: FloatArray | None, column: int) -> float | None:
    """The median of the last known values: one day's reduction is not the regular price."""
    if values is None:
        return None
    known = values[np.isfinite(values[:, column]), column]
    return None if known.size == 0 else float(median(known[-7:].tolist()))


def minor(amount: float, currency: str) -> int:
    """Minor units (cents), at least one for what costs anything."""
    units = round(amount * 10 ** minor_digits(currency))
    return max(units, 1) if amount > 0 else 0


def for_rehearsal(own: OwnSales, metric: Metric, clusters: Clusters) -> Rehearsal:
    """What the advisor and ``power`` judge designs on; money in minor units.

    Raises:
        FlipsideError: money in several currencies, or prices or costs that the table does not have.
    """
    periods = own.periods
    outcome = periods.quantity
    currency = own.currencies[0] if len(own.currencies) == 1 else NO_CURRENCY
    if metric != "units":
        scale = 10 ** minor_digits(own.currency(f"--metric {metric}"))
        per_piece = _filled(_needed(periods.price, metric, "price or revenue"), own, "list_price_minor") * scale
        if metric == "margin":
            per_piece = per_piece - _filled(_cost(own), own, "cost_minor") * scale
        outcome = np.where(periods.quantity == 0, 0.0, periods.quantity * per_piece)
    return Rehearsal(periods.units, outcome, periods.labels, periods.period_days, clusters, metric, currency)


def _needed(values: FloatArray | None, metric: str, column: str) -> FloatArray:
    if values is None:
        raise FlipsideError(f"--metric {metric}: the sales have no {column}; name the column, or ask for units")
    return values


def _cost(own: OwnSales) -> FloatArray:
    """Of the table, else of the catalog."""
    if own.periods.cost is not None:
        return own.periods.cost
    if any(entry.cost_minor is None for entry in own.catalog):
        raise FlipsideError("--metric margin: neither sales nor catalog have the cost of every unit; give --cost")
    return np.full(own.periods.quantity.shape, np.nan)


def _filled(values: FloatArray, own: OwnSales, field: str) -> FloatArray:
    """Where a day has no price or cost of its own, the catalog's."""
    listed = [getattr(e, field) for e in own.catalog]
    scaled = [
        np.nan if value is None else value / 10 ** minor_digits(entry.currency)
        for value, entry in zip(listed, own.catalog, strict=True)
    ]
    return np.where(np.isfinite(values), values, np.array(scaled)[None, :])


def for_replay(own: OwnSales, units: Collection[str] | None = None) -> History:
    """What a replay plays: whole pieces a unit and period, at the price of that day.

    ``units``: those that take part; all where none are named.

    Raises:
        FlipsideError: several currencies.
    """
    if units is not None:
        kept = set(units)
        catalog = tuple(entry for entry in own.catalog if entry.unit in kept)
        own = replace(own, periods=own.periods.only(kept), catalog=catalog, currencies=_currencies(catalog))
    currency = own.currency("a replay")
    periods = own.periods
    digits = minor_digits(currency)
    prices = np.full(periods.quantity.shape, np.nan) if periods.price is None else periods.price
    costs = np.full(periods.quantity.shape, np.nan) if periods.cost is None else periods.cost
    prices, costs = _filled(prices, own, "list_price_minor"), _filled(costs, own, "cost_minor")
    notes = list(own.notes)
    if not np.allclose(np.nan_to_num(periods.quantity) % 1, 0):
        notes.append("pieces are whole numbers: quantities of a unit and period are rounded")
    if periods.price is None:
        notes.append("no prices: list prices stand in for them, revenue is what those give")
    if not np.isfinite(costs).any():
        notes.append("no costs: margin cannot be rehearsed")
    rows = tuple(
        tuple(
            WeekOfSales(
                unit=unit,
                packs=round(float(periods.quantity[t, u])),
                price_minor=max(0, round(float(prices[t, u]) * 10**digits)),
                cost_minor=None if np.isnan(costs[t, u]) else max(0, round(float(costs[t, u]) * 10**digits)),
                rival=None,
                rival_price_minor=None,
            )
            for u, unit in enumerate(periods.units)
            if np.isfinite(periods.quantity[t, u])
        )
        for t in range(len(periods.quantity))
    )
    return History(
        catalog=own.catalog,
        periods=rows,
        currency=currency,
        period_days=periods.period_days,
        days=periods.days,
        notes=tuple(notes),
    )


def _currencies(catalog: Sequence[CatalogEntry]) -> tuple[str, ...]:
    return tuple(sorted({entry.currency for entry in catalog}))
