"""The night's drill as the table of docs/faults.md.

python -m tests.e2e.product.night_table
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "night_drill.json"
HEAD = "| fault | shown after | metrics | log | clients the next morning |"
#: sample of a scenario -> how the table calls its value
SAMPLES: Mapping[str, str] = {
    "flipside_clock_difference_seconds": "clocks {:+.0f} s",
    'flipside_flips_total{outcome="late"}': "{:.0f} flips late",
    "flipside_announcements_late_total": "{:.0f} announcements late",
    'flipside_units{why="lapsed"}': "{:.0f} units lapsed",
    "flipside_undelivered_market_days_total": "{:.0f} market-days undelivered",
    'flipside_health_check{check="fidelity-today",experiment="night"}': "`fidelity-today` {:.0f}",
}


def seconds_of(row: Mapping[str, Any]) -> float:
    """How long it took until metrics showed the fault, at worst."""
    return float(max(row["seconds"].values()))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page's table of these scenarios; that in which nothing is wrong is left out."""
    return "\n".join((HEAD, "|---|---|---|---|---|", *(_line(row) for row in rows if any(_metrics(row)))))


def _line(row: Mapping[str, Any]) -> str:
    cells = (row["scenario"], f"{seconds_of(row):.1f} s", ", ".join(_metrics(row)), ", ".join(_log(row)), _clients(row))
    return f"| {' | '.join(cells)} |"


def _metrics(row: Mapping[str, Any]) -> Iterator[str]:
    for sample, said in SAMPLES.items():
        if value := row["metrics"].get(sample):
            yield said.format(value)
    if row.get("sale") == "dead letter":
        yield f"dead letter `{row['reason']}`"


def _log(row: Mapping[str, Any]) -> list[str]:
    return [f"`{event}`" for event in row["events"]] or ["nothing"]


def _clients(row: Mapping[str, Any]) -> str:
    shown = {name.removesuffix(" (scheduled)"): count for name, count in row.get("clients", {}).items()}
    return ", ".join(f"{count} {name}" for name, count in sorted(shown.items())) or "-"


if __name__ == "__main__":
    print(table(json.loads(RESULTS.read_text())))
