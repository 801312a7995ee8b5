"""``flipside synthesize``: a history like one's own with no row of it, to rehearse on and to share."""

import json as json_format
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flipside.commands.options import AsJson
from flipside.commands.sales_options import WITHOUT_COST, CatalogFile, CurrencyCode, tell, with_sales_columns

if TYPE_CHECKING:
    from flipside.sales_history.columns import SalesColumns


@partial(with_sales_columns, roles=WITHOUT_COST)
def synthesize(
    history: Annotated[
        Path,
        typer.Argument(
            metavar="HISTORY",
            help="Sales as CSV or Parquet, a row a sale, a day or a week; or a folder as of examples/sales.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for sales.csv and moments.json.")],
    shocks: Annotated[
        Literal["kept", "redrawn"],
        typer.Option(
            help="What products do in all stores: kept shows which weeks were the chain's promotions; redrawn does "
            "not, and resembles less."
        ),
    ] = "kept",
    columns: "SalesColumns | None" = None,
    catalog: CatalogFile = None,
    currency: CurrencyCode = None,
    market: Annotated[list[str] | None, typer.Option(help="Only these markets; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same history.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic sales history, and print what it keeps of the source and what it loses.

    Stores are drawn anew from a model with factors and copulas; products keep their mean level, price and price
    response. No row of the source is copied.

    Example: flipside synthesize examples/sales --out rehearsal
    """
    import numpy as np

    from controller.errors import FlipsideError
    from flipside.sales_history.own_sales import read_own
    from flipside.sales_history.synthetic import from_folder, from_periods, write_synthetic
    from flipside.sales_history.tables import is_own
    from flipside.terminal.synthetic_output import show

    if is_own(history):
        own = read_own(history, columns=columns, catalog=catalog, currency=currency, markets=market or ())
        tell(own.notes)
        source = from_periods(own.periods)
    elif history.is_dir():
        source = from_folder(history)
    else:
        raise FlipsideError(f"{history} is no table of sales: it needs columns for store, product, time and quantity")
    written = write_synthetic(source, out, np.random.default_rng(seed), shocks)
    if as_json:
        rows = [
            {"name": m.name, "source": m.source, "synthetic": m.synthetic, "error": m.error, "kept": m.kept}
            for m in written.moments
        ]
        print(json_format.dumps({"path": str(written.path), "rows": written.rows, "moments": rows}))
    else:
        show(written)
