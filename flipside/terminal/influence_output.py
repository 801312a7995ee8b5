"""How influences look in a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.responses.panel_influence import SHOWN, PanelInfluence

#: characters of the longest bar
WIDTH = 24


def influence_tables(found: PanelInfluence, outcome: str, notes: tuple[str, ...] = ()) -> None:
    """The ten clusters, units and periods that move the number most, then what the sign rests on."""
    console = Console(soft_wrap=True)
    effect = found.influence.effect
    console.print(f"Effect on {outcome} by {found.method}: {effect:.4g}", markup=False, highlight=False)
    parts = [("unit", found.largest_units()), ("period", found.largest_periods())]
    if found.clustered:
        parts.insert(0, ("cluster", found.largest_clusters()))
    for what, rows in parts:
        if rows:
            console.print(_table(what, rows, effect))
    for sentence in (*notes, *found.notes, *sentences(found)):
        console.print(sentence, markup=False, highlight=False)


def _table(what: str, rows: list[tuple[str, float]], effect: float) -> Table:
    table = Table(title=f"The {min(len(rows), SHOWN)} {what}s that move it most")
    table.add_column(what)
    table.add_column("moves it by", justify="right")
    table.add_column("effect without", justify="right")
    table.add_column("")
    longest = max(abs(move) for _, move in rows)
    for name, move in rows:
        length = round(WIDTH * abs(move) / longest) if longest > 0 else 0
        table.add_row(escape(name), f"{move:+.4g}", f"{effect - move:.4g}", ("+" if move > 0 else "-") * length)
    return table


def sentences(found: PanelInfluence) -> list[str]:
    """What the sign rests on, and how exact the numbers are."""
    one = found.influence
    what = "clusters" if found.clustered else "units"
    said = []
    if one.turning is None:
        said.append(f"sign: no small set of {what} was found without which it would turn")
    else:
        smallest = "no smaller set does" if one.turning_is_smallest else "a smaller set may exist"
        held = " with the weights of the others held and scaled up" if found.method in ("sc", "sdid") else ""
        said.append(
            f"sign: it would turn without these {len(one.turning)} {what}{held}: {', '.join(one.turning)}; {smallest}"
        )
    if one.refitted is not None:
        said.append(
            f"exactness: {one.refitted} of the numbers are fits anew; the others follow the weights' optimum, which was"
            f" off by at most {one.closed_form_gap:.2g} of the largest move where both are known"
        )
    if one.note:
        said.append(f"note: {one.note}")
    return said
