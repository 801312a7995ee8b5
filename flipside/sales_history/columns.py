"""Which column of a table holds what: named by the caller, or found by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flipside.sales_history.faults import UnreadableSales

#: role -> names under which it is found; the first that the table has is taken. Case, blanks and _ do not matter.
KNOWN_AS: Mapping[str, tuple[str, ...]] = {
    "unit": ("unit",),
    "store": ("store", "market", "shop", "branch", "outlet", "location", "store id", "shop id"),
    "product": ("product", "item", "sku", "article", "product id", "item id"),
    "time": ("time", "date", "day", "week", "sold at", "occurred at", "timestamp", "datetime"),
    "quantity": ("quantity", "qty", "units", "pieces", "packs", "units sold", "sold"),
    "price": ("price", "unit price", "price each"),
    "revenue": ("revenue", "amount", "turnover", "total"),
    "cost": ("cost", "unit cost"),
    "currency": ("currency",),
    "id": ("id", "sale id", "event id", "line id"),
}
#: roles that are options of the commands
OPTIONS = ("unit", "store", "product", "time", "quantity", "price", "revenue", "cost")


@dataclass(frozen=True, slots=True)
class SalesColumns:
    """Names of columns; None: found by name. ``price`` and ``cost`` are of one piece, ``revenue`` of the row."""

    unit: str | None = None
    store: str | None = None
    product: str | None = None
    time: str | None = None
    quantity: str | None = None
    price: str | None = None
    revenue: str | None = None
    cost: str | None = None
    currency: str | None = None
    id: str | None = None


def found_in(path: Path, header: Sequence[str], given: SalesColumns) -> SalesColumns:
    """Every role that the table has.

    Raises:
        UnreadableSales: a named column that is not there, two columns of one role, or a role that is missing.
    """
    roles = {role: _column(path, header, role, getattr(given, role)) for role in KNOWN_AS}
    if roles["unit"] is not None and given.store is None and given.product is None:
        roles["store"] = roles["product"] = None
    elif given.unit is None and roles["store"] is not None and roles["product"] is not None:
        roles["unit"] = None
    columns = SalesColumns(**roles)
    if columns.unit is None and (columns.store is None or columns.product is None):
        missing = [role for role in ("store", "product") if roles[role] is None]
        raise UnreadableSales(_missing(path, header, missing, "or --unit for a column of store/product"))
    for role in ("time", "quantity"):
        if roles[role] is None:
            raise UnreadableSales(_missing(path, header, [role], "every row says when, and how much was sold"))
    return columns


def _column(path: Path, header: Sequence[str], role: str, given: str | None) -> str | None:
    if given is not None:
        if given not in header:
            raise UnreadableSales(
                f"{path}: --{role} {given}: there is no such column; the table has {', '.join(header)}"
            )
        return given
    by_plain = [(_plain(name), name) for name in header]
    for known in KNOWN_AS[role]:
        named = [name for plain, name in by_plain if plain == known]
        if len(named) > 1:
            raise UnreadableSales(
                f"{path}: columns {' and '.join(named)} could both be the {role}; name one with --{role}"
            )
        if named:
            return named[0]
    return None


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def _missing(path: Path, header: Sequence[str], roles: Sequence[str], rule: str) -> str:
    options = " ".join(f"--{role} COLUMN" for role in roles)
    return f"{path}: no column for {' and '.join(roles)} among {', '.join(header)}: name it with {options}; {rule}"
