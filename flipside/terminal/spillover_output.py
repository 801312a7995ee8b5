"""Effects with spillover as a table: the naive number, the corrected ones, and beside them what was planted."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report.spillover import COMPARES, said
from analysis.report.style import number
from flipside.terminal.record_list import print_records

#: metric, effect, estimator -> the true effect, in the unit of the rows
Planted = Mapping[tuple[str, str, str], float]


def print_effects(experiment: str, rows: Sequence[Mapping[str, Any]], planted: Planted | None = None) -> None:
    """The rows of `analysis.report.spillover.rows_of`; with ``planted`` a column of the truth, where there is one."""
    first = rows[0]
    cut = "" if first["cut"] is None else f", {first['cut']:.0%} of its weight leaves its cluster"
    lines = []
    for row in rows:
        unit = row["unit"] if row["value"] is not None else ""
        line = [row["metric"], row["arm"], row["effect"] or "", row["exposure_estimator"] or ""]
        line.append(f"{said(dict(row))} {unit}".strip())
        if planted is not None:
            truth = planted.get((row["metric"], row["effect"], row["exposure_estimator"]))
            line.append("" if truth is None else f"{number(truth)} {row['unit']}")
        lines.append((*line, str(row["dropped"] or 0), COMPARES.get(row["effect"], "")))
    truths = () if planted is None else ("planted",)
    print_records(
        ("metric", "arm", "effect", "estimator", "per unit-day [95 %]", *truths, "units dropped", "compares"),
        lines,
        title=f"{experiment} through {first['day']}, fixed-horizon; graph {first['graph']}{cut}",
        right=("units dropped",),
    )
    if first["caution"]:
        print(f"note: {first['caution']}")
