"""A table of sales, read and checked row by row: who sold what, when, how much of it, at which price."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from flipside.sales_history.columns import SalesColumns, found_in
from flipside.sales_history.dates import Days, days_of
from flipside.sales_history.faults import SHOWN, UnreadableSales, at_lines, first_few, line_numbers
from flipside.sales_history.file_columns import SEPARATORS, Raw, read_raw
from flipside.sales_history.names import NAMED, plain_name, respelled
from flipside.sales_history.numerals import Coded, coded, decimal_mark, numbers

NUMERIC = ("quantity", "price", "revenue", "cost")
#: more in one row is a mistake, and would not fit into a sale of the contract
MOST = 1e9


@dataclass(frozen=True, slots=True)
class SalesTable:
    """Rows as they stand in the file; money in major units (euros, not cents)."""

    path: Path
    #: distinct units, ``store/product``, and the unit of each row
    units: tuple[str, ...]
    unit: IntArray
    days: Days
    quantity: FloatArray
    #: of one piece; None where the table has neither price nor revenue
    price: FloatArray | None
    cost: FloatArray | None
    #: distinct currencies, and that of each unit; empty where the table has no such column
    currency: dict[str, str]
    #: how the file was read, a sentence each
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.quantity)


def read_table(path: Path, columns: SalesColumns | None = None) -> SalesTable:
    """Read a table of sales and check each row.

    Raises:
        UnreadableSales: a rule is broken; the message names file, lines, value, rule and way out.
    """
    raw = read_raw(path)
    held = found_in(path, raw.table.column_names, columns or SalesColumns())
    _refuse_repeated_ids(raw, held)
    units, unit, respelled = _units(raw, held)
    assert held.time is not None
    days = days_of(path, held.time, raw.table.column(held.time))
    read, mark = _numeric(raw, held)
    quantity = read["quantity"]
    _refuse(path, np.isnan(quantity), quantity, f"{held.quantity} is empty", "every row says how much was sold")
    _refuse(
        path,
        quantity < 0,
        quantity,
        f"{held.quantity} is negative",
        "a return does not tell the day of its sale, from which it would have to be taken; leave returns out,"
        " or net them against their sales",
    )
    _refuse(path, quantity > MOST, quantity, f"{held.quantity} is above {MOST:g}", "mend it")
    price, notes = _prices(path, held, read)
    if (cost := read.get("cost")) is not None:
        _refuse(path, cost < 0, cost, f"{held.cost} is negative", "a cost is what one piece costs you; mend it")
    currency = _currencies(raw, held, units, unit)
    said = [
        _how_read(raw, days, mark if _has_text(raw) else None),
        *([] if days.note is None else [days.note]),
        *respelled,
        *notes,
    ]
    return SalesTable(path, units, unit, days, quantity, price, cost, currency, tuple(said))


def _units(raw: Raw, held: SalesColumns) -> tuple[tuple[str, ...], IntArray, list[str]]:
    """``store/product`` of each row, its names spelled as a definition takes them; and what is said of that."""
    if held.unit is not None:
        found = _names(raw, held.unit)
        for number, value in enumerate(found.values):
            if value.count("/") != 1 and number in found.codes:
                rows = found.rows_with([number])
                said = at_lines(raw.path, rows, [repr(value)] * len(rows))
                raise UnreadableSales(
                    f"{raw.path}: {held.unit} is not spelled store/product on {said}: write it so, or name"
                    " two columns with --store and --product"
                )
        spelled = {value: "/".join(map(plain_name, value.split("/"))) for value in found.values}
        names = _checked_names(raw, held.unit, found, spelled)
        return *_sorted(names, found.codes), respelled(spelled)
    assert held.store is not None
    assert held.product is not None
    store, product = _names(raw, held.store), _names(raw, held.product)
    by_store, by_product = ({value: plain_name(value) for value in column.values} for column in (store, product))
    stores = _checked_names(raw, held.store, store, by_store)
    products = _checked_names(raw, held.product, product, by_product)
    pair = store.codes * max(len(products), 1) + product.codes
    distinct, codes = np.unique(pair, return_inverse=True)
    names = [f"{stores[one // len(products)]}/{products[one % len(products)]}" for one in distinct.tolist()]
    return *_sorted(names, codes.astype(np.int64)), respelled(by_store | by_product)


def _sorted(names: Sequence[str], codes: IntArray) -> tuple[tuple[str, ...], IntArray]:
    distinct = sorted(set(names))
    number = {name: k for k, name in enumerate(distinct)}
    return tuple(distinct), np.array([number[name] for name in names], dtype=np.int64)[codes]


def _names(raw: Raw, name: str) -> Coded:
    found = coded(raw.table.column(name).cast(pa.string()))
    empty = [int(row) for row in np.flatnonzero(found.codes < 0)]
    if empty:
        said = at_lines(raw.path, empty, ["empty"] * len(empty))
        raise UnreadableSales(f"{raw.path}: {name} is empty on {said}: every row names what was sold where")
    return found


def _checked_names(raw: Raw, name: str, column: Coded, spelled: Mapping[str, str]) -> list[str]:
    """The names as a definition takes them; refused where none is left, or two that differ would become one."""
    first: dict[str, int] = {}
    for number, value in enumerate(column.values):
        plain = spelled[value]
        if not all(NAMED.match(part) for part in plain.split("/")):
            rows = column.rows_with([number])
            said = at_lines(raw.path, rows, [repr(value)] * len(rows))
            raise UnreadableSales(
                f"{raw.path}: {name} on {said} cannot be named in a definition: 64 letters A to Z, digits and . _ ~ -"
                " are taken; use the codes of the catalog"
            )
        other = first.setdefault(plain, number)
        if column.values[other].split() != value.split():
            rows = [column.rows_with([one])[0] for one in (other, number)]
            said = at_lines(raw.path, rows, [repr(column.values[one]) for one in (other, number)])
            raise UnreadableSales(
                f"{raw.path}: two names of {name} would both be spelled {plain!r} in a definition, {said}: rename one,"
                " or use the codes of the catalog"
            )
    return [spelled[value] for value in column.values]


def _numeric(raw: Raw, held: SalesColumns) -> tuple[dict[str, FloatArray], str]:
    texts: dict[str, Coded] = {}
    read: dict[str, FloatArray] = {}
    for role in NUMERIC:
        name = getattr(held, role)
        if name is None:
            continue
        column = raw.table.column(name)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts[role] = coded(column)
        else:
            read[role] = np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)
    mark = decimal_mark(raw.path, {str(getattr(held, role)): column for role, column in texts.items()}, raw.separator)
    for role, column in texts.items():
        read[role] = numbers(raw.path, str(getattr(held, role)), column, mark)
    return read, mark


def _has_text(raw: Raw) -> bool:
    return raw.separator is not None


def _prices(path: Path, held: SalesColumns, read: dict[str, FloatArray]) -> tuple[FloatArray | None, list[str]]:
    """Price of one piece, from the price or from the row's revenue; what is given away is named."""
    notes: list[str] = []
    quantity = read["quantity"]
    price = read.get("price")
    if price is None and "revenue" in read:
        with np.errstate(divide="ignore", invalid="ignore"):
            price = np.where(quantity > 0, read["revenue"] / quantity, np.nan)
        notes.append(f"price of a piece = {held.revenue} / {held.quantity}")
    name = held.price or held.revenue
    if price is None:
        return None, notes
    _refuse(path, price < 0, price, f"{name} is negative", "a price is what one piece was sold at; mend it")
    sold = quantity > 0
    _refuse(path, np.isnan(price) & sold, price, f"{name} is empty", "every sale has a price")
    _refuse(path, price > MOST, price, f"{name} is above {MOST:g}", "prices are in euros or dollars, not in cents")
    free = np.flatnonzero((price == 0) & sold)
    if free.size:
        said = at_lines(path, free.tolist(), ["0"] * min(free.size, SHOWN))
        notes.append(
            f"warning: {free.size:,} rows have a {name} of zero, {said}: their pieces count, and a day's price is the"
            " mean over all its pieces; leave them out if they were no sales"
        )
    return price, notes


def _currencies(raw: Raw, held: SalesColumns, units: Sequence[str], unit: IntArray) -> dict[str, str]:
    if held.currency is None:
        return {}
    column = _names(raw, held.currency)
    wrong = [
        k for k, value in enumerate(column.values) if not (len(value) == 3 and value.isalpha() and value.isupper())
    ]
    if wrong:
        rows = column.rows_with(wrong)
        said = at_lines(raw.path, rows, [repr(column.values[column.codes[row]]) for row in rows[:SHOWN]])
        raise UnreadableSales(f"{raw.path}: {held.currency} is no currency code on {said}: write EUR, USD, ...")
    pairs = np.unique(np.stack([unit, column.codes]), axis=1)
    doubled = np.flatnonzero(np.bincount(pairs[0], minlength=len(units)) > 1)
    if doubled.size:
        first = int(doubled[0])
        rows = [
            int(np.flatnonzero((unit == first) & (column.codes == code))[0]) for code in pairs[1][pairs[0] == first]
        ]
        said = at_lines(raw.path, rows, [column.values[column.codes[row]] for row in rows])
        raise UnreadableSales(
            f"{raw.path}: {doubled.size:,} units are sold in several currencies,"
            f" {first_few([units[k] for k in doubled.tolist()])}; {units[first]}: {said}: a unit has one currency;"
            " convert, or make two products of it"
        )
    return {units[k]: column.values[code] for k, code in pairs.T.tolist()}


def _refuse_repeated_ids(raw: Raw, held: SalesColumns) -> None:
    if held.id is None:
        return
    column = raw.table.column(held.id)
    if len(pc.unique(column)) == raw.table.num_rows:
        return
    values = column.cast(pa.string()).to_pylist()
    first: dict[str, int] = {}
    repeated = []
    for row, value in enumerate(values):
        if value is not None and value in first:
            repeated.append((first[value], row, value))
        first.setdefault(value, row)
    if not repeated:
        return
    one, two, value = repeated[0]
    lines = line_numbers(raw.path, [one, two])
    raise UnreadableSales(
        f"{raw.path}: {held.id} {value!r} stands on lines {lines[0]} and {lines[1]} ({len(repeated):,} such rows): an"
        f" id is of one row; remove the repetition, or name the column otherwise if it is no id"
    )


def _refuse(path: Path, wrong: BoolArray, values: FloatArray, what: str, rule: str) -> None:
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        said = at_lines(path, rows, ["empty" if np.isnan(values[row]) else f"{values[row]:g}" for row in rows[:SHOWN]])
        raise UnreadableSales(f"{path}: {what} on {said}: {rule}")


def _how_read(raw: Raw, days: Days, mark: str | None) -> str:
    said = [f"{raw.path.name}: {raw.table.num_rows:,} rows"]
    if raw.separator is not None:
        said.append(f"separated by {SEPARATORS[raw.separator]}")
    if mark is not None:
        said.append("decimal comma" if mark == "," else "decimal point")
    said.append(f"dates {days.spelling}" if days.spelling != "numbers" else "numbered weeks or days")
    return ", ".join(said)
