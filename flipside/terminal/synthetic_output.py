"""How a synthetic history compares with its source, in a terminal."""

from rich.console import Console
from rich.table import Table

from analysis.heterogeneity.synthetic.moments import ALLOWED
from flipside.sales_history.synthetic import Written


def show(written: Written) -> None:
    """A row a moment, then what is lost whatever the numbers."""
    console = Console(soft_wrap=True)
    table = Table(title=f"{written.path}: {written.rows:,} rows, none of the source")
    for name in ("moment of the logarithm of pieces", "source", "synthetic", "off by", ""):
        table.add_column(name, justify="left" if name.startswith("moment") or not name else "right")
    for one in written.moments:
        table.add_row(
            one.name, f"{one.source:.3g}", f"{one.synthetic:.3g}", f"{one.error:.1%}", "" if one.kept else "lost"
        )
    console.print(table)
    lost = sum(not one.kept for one in written.moments)
    console.print(
        f"{lost} of {len(written.moments)} moments are off by more than {ALLOWED:.0%}. Lost by design: prices that stay"
        " the same for weeks, rivals' prices in a product's sales, what happened in one store alone. Standard errors of"
        " designs may be larger than on the source (docs/heterogeneity.md).",
        highlight=False,
    )
