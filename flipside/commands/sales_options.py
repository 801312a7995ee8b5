"""Options of the commands that read one's own sales, spelled once."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

#: role of a column -> its option
COLUMNS = {
    "unit": ("--unit", "Column of store/product, in one [unit]."),
    "store": ("--store", "Column of the store [store, market, shop]."),
    "product": ("--product", "Of the product [product, item, sku]."),
    "time": ("--time", "Of the day or the week [time, date, week]."),
    "quantity": ("--quantity", "Of pieces sold [quantity, units]."),
    "price": ("--price", "Of one piece's price, 3.49 [price]."),
    "revenue": ("--revenue", "Of the row's amount [revenue, amount]."),
    "cost": ("--cost", "Of one piece's cost [cost]."),
}
#: of what is asked of prices alone
WITHOUT_COST = tuple(role for role in COLUMNS if role != "cost")
CatalogFile = Annotated[
    Path | None, typer.Option("--catalog", metavar="FILE", help="Catalog entries, one JSON object a line.")
]
CurrencyCode = Annotated[
    str | None,
    typer.Option(
        "--currency", metavar="CODE", help="Only units in this currency, EUR; theirs where sales and catalog name none."
    ),
]


def with_sales_columns(
    command: "Callable[..., None]", roles: "Collection[str]" = tuple(COLUMNS)
) -> "Callable[..., None]":
    """A command with an option for each column, in the place of its argument ``columns`` (None where none is named)."""
    signature = inspect.signature(command)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name == "columns":
            parameters += [
                parameter.replace(
                    name=role, annotation=Annotated[str | None, typer.Option(option, metavar="COLUMN", help=said)]
                )
                for role, (option, said) in COLUMNS.items()
                if role in roles
            ]
        else:
            parameters.append(parameter)

    def run(**given: object) -> None:
        from flipside.sales_history.columns import SalesColumns

        named: dict[str, Any] = {role: name for role in roles if (name := given.pop(role)) is not None}
        command(**given, columns=SalesColumns(**named) if named else None)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def tell(notes: "Iterable[str]") -> None:
    """How a file was read, on stderr, where it disturbs no output."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for note in notes:
        console.print(note, markup=False, style="yellow" if note.startswith("warning:") else None)
