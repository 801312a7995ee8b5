"""Options of the commands that read one's own sales, spelled once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flipside.sales_history.columns import SalesColumns

Column = str | None
Unit = Annotated[Column, typer.Option("--unit", metavar="COLUMN", help="Column of store/product, in one [unit].")]
Store = Annotated[Column, typer.Option("--store", metavar="COLUMN", help="Column of the store [store, market, shop].")]
Product = Annotated[Column, typer.Option("--product", metavar="COLUMN", help="Of the product [product, item, sku].")]
Time = Annotated[Column, typer.Option("--time", metavar="COLUMN", help="Of the day or the week [time, date, week].")]
Quantity = Annotated[Column, typer.Option("--quantity", metavar="COLUMN", help="Of pieces sold [quantity, units].")]
Price = Annotated[Column, typer.Option("--price", metavar="COLUMN", help="Of one piece's price, 3.49 [price].")]
Revenue = Annotated[Column, typer.Option("--revenue", metavar="COLUMN", help="Of the row's amount [revenue, amount].")]
Cost = Annotated[Column, typer.Option("--cost", metavar="COLUMN", help="Of one piece's cost [cost].")]
CatalogFile = Annotated[
    Path | None, typer.Option("--catalog", metavar="FILE", help="Catalog entries, one JSON object a line.")
]
CurrencyCode = Annotated[
    str | None, typer.Option("--currency", metavar="CODE", help="Only units in this currency, EUR.")
]


def columns_from(**given: str | None) -> "SalesColumns | None":
    """The columns that were named; None where none was."""
    from flipside.sales_history.columns import SalesColumns

    named = {name: value for name, value in given.items() if value is not None}
    return SalesColumns(**named) if named else None


def tell(notes: "Iterable[str]") -> None:
    """How a file was read, on stderr, where it disturbs no output."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for note in notes:
        console.print(note, markup=False, style="yellow" if note.startswith("warning:") else None)
