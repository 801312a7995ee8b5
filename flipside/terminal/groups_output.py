"""How groups look in a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.responses.panel_groups import PanelGroups


def groups_tables(shown: PanelGroups, outcome: str, level: float) -> None:
    """The groups tested, how many were looked at, and the effect by rank."""
    console = Console(soft_wrap=True)
    found = shown.found
    console.print(
        f"Average effect on {outcome}: {_interval(found.effect, found.effect_low, found.effect_high)},"
        f" {found.units} units, {found.clusters} clusters",
        markup=False, highlight=False,
    )  # fmt: skip
    table = Table(title=f"Groups found on one half, tested on the other; {level:.0%} intervals")
    for name in ("group", "effect", "less the rest", "q", "units", "differs"):
        table.add_column(name, justify="left" if name in ("group", "differs") else "right")
    for one in found.groups:
        table.add_row(
            escape(one.name), _interval(one.effect, one.low, one.high), f"{one.contrast:+.4g}", f"{one.q_value:.3g}",
            str(one.units), "yes" if one.named else "not shown",
        )  # fmt: skip
    if found.groups:
        console.print(table)
    else:
        console.print("no group was strong enough on the half it was looked for to be tested on the other")
    looked = Table(title="How many were looked at")
    for name in ("attributes joined", "groups", "too small", "tested on the other half", "named"):
        looked.add_column(name, justify="right")
    for row in found.looked:
        looked.add_row(str(row.depth), f"{row.conjunctions:,}", f"{row.too_small:,}", str(row.tested), str(row.named))
    console.print(looked)
    if shown.ranked is not None:
        ranked = Table(title="Units ranked by the effect that their attributes foretell")
        for name in ("fifth", "units", "foretold", "effect"):
            ranked.add_column(name, justify="right")
        for part in shown.ranked.groups:
            ranked.add_row(
                str(part.number), str(part.units), f"{part.foretold:.4g}", _interval(part.effect, part.low, part.high)
            )
        console.print(ranked)
        spread = _interval(shown.ranked.spread, shown.ranked.spread_low, shown.ranked.spread_high)
        console.print(f"highest fifth less lowest: {spread}", markup=False, highlight=False)
    for sentence in (*found.notes, *([shown.not_ranked] if shown.not_ranked else [])):
        console.print(f"note: {sentence}", markup=False, highlight=False)


def _interval(effect: float, low: float, high: float) -> str:
    return f"{effect:.4g} [{low:.4g}, {high:.4g}]"
