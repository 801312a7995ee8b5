"""docs/checks.md, written from the figures of `benchmarks.checks.check_power`."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "check_power.json"
PAGE = ROOT / "docs" / "checks.md"
SIZES = (5, 30, 100)
EXPERIMENT = ("setting", "sales", "design", "units", "runs")
Rows = list[dict[str, Any]]

INTRODUCTION = """\
# Which losses the checks detect, in simulation

20 clusters of 5, 30 or 100 units (20 x 5, ...), 28 days after 28 days of history; random days, crossover, time-bound,
triggered, staggered and blocked designs. Each design has {sick} runs with a loss, checked on the planned day, and
{healthy} without one, checked on every day. The Monte-Carlo error of a share p is the root of p (1 - p) / runs: at
most {sick_error:.1f} points with a loss, {healthy_error:.1f} at 5 % without. Command: `{command}`. This page is
written from `benchmarks/results/check_power.json` by `python -m benchmarks.checks.check_power --page`.

A check *fires* if it warns or fails. Each rate is that of the worst of the six designs: the lowest rate with a loss,
the highest without one. *Sales* are events for each unit and day. *Cells* are unit-days. What each check computes:
[methods](methods/health.md).
"""
LOST = """\
## Losses of an arm's unit-days

The share of the treated unit-days that is lost, and how often any check fires; in brackets the check that fires most
often, with its own rate. *Missing*: nothing is known of the unit-day. *Zeros*: the feed is not silent, so the unit-day
counts as one without a sale. Such a loss looks like an effect.
"""
WITHIN = """\
## Losses within unit-days, delays and empty shelves

These losses are in treated unit-days only. *Pieces*: a sale of three arrives as one of two. *Events*: a sale does not
arrive. Events that are lost at random look exactly as if treated units had sold less: no check can tell that from an
effect.
"""
HEALTHY = """\
## Nothing lost by arm

False alarms over the whole run, in per cent. In both arms alike, 2 % of unit-days are late, corrected or sold out. In
some shops, 2 % of unit-days are missing too, one by one or because a store is out for one to five days.
"""
STOCK = """\
## Shelves that the arm empties

Random days, 20 sales, 20 x 30: a tenth of the treated unit-days loses half of its sales to an empty shelf. The
relative effect without any empty shelf would be {full:+.2%} (standard error {full_error:.2%}); with `when_sold_out:
zero` the estimate is {zero:+.2%} ({zero_error:.2%}), with `missing` {missing:+.2%} ({missing_error:.2%}). Both are
published.
"""


def page(measured: dict[str, Any]) -> str:
    """The whole page."""
    rows: Rows = measured["rows"]
    sick = next(row["runs"] for row in rows if not row["setting"].startswith("healthy"))
    healthy = next(row["runs"] for row in rows if row["setting"].startswith("healthy"))
    head = INTRODUCTION.format(
        sick=sick,
        healthy=healthy,
        command=measured["command"],
        sick_error=100 * (0.25 / sick) ** 0.5,
        healthy_error=100 * (0.05 * 0.95 / healthy) ** 0.5,
    )
    lost = [row for row in rows if "cells missing" in row["setting"] or "turned into zeros" in row["setting"]]
    lost = [row for row in lost if not row["setting"].startswith("healthy")]
    within = [row for row in rows if row not in lost and not row["setting"].startswith("healthy")]
    stock = STOCK.format(**measured["sold_out"])
    parts = [head, LOST, _power(lost), WITHIN, _power(within), HEALTHY, _alarms(rows), stock]
    return "\n".join(part.strip() + "\n" for part in parts)


def written(measured: dict[str, Any]) -> str:
    """The figures as JSON text: a line for the checks of each setting, design and size, as what speaks and fails."""
    checks: dict[tuple[object, ...], dict[str, list[float]]] = {}
    for row in measured["rows"]:
        key = tuple(row[name] for name in EXPERIMENT)
        checks.setdefault(key, {})[row["check"]] = [row["speaks"], row["fails"]]
    rows = ",\n  ".join(json.dumps(dict(zip(EXPERIMENT, key, strict=True)) | found) for key, found in checks.items())
    head = json.dumps({name: value for name, value in measured.items() if name != "rows"}, indent=1)
    return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def read(path: Path) -> dict[str, Any]:
    """What `written` wrote."""
    measured: dict[str, Any] = json.loads(path.read_text())
    measured["rows"] = [
        {name: row[name] for name in EXPERIMENT} | {"check": check, "speaks": found[0], "fails": found[1]}
        for row in measured["rows"]
        for check, found in row.items()
        if check not in EXPERIMENT
    ]
    return measured


def write_page(measured: dict[str, Any]) -> None:
    """To the docs."""
    PAGE.write_text(page(measured))


def _settings(rows: Rows) -> list[tuple[str, float]]:
    return list(dict.fromkeys((row["setting"], row["sales"]) for row in rows))


def _power(rows: Rows) -> str:
    lines = ["| what is lost | sales | 20 x 5 | 20 x 30 | 20 x 100 |", "| --- | ---: | ---: | ---: | ---: |"]
    for setting, sales in _settings(rows):
        of = [row for row in rows if (row["setting"], row["sales"]) == (setting, sales)]
        found = [_seen([row for row in of if row["units"] == size]) for size in SIZES]
        lines.append(f"| {setting} | {sales:g} | {' | '.join(found)} |")
    return "\n".join(lines)


def _seen(rows: Rows) -> str:
    """How often some check speaks in the worst design, and the check that speaks most often there."""
    least = {check: min(row["speaks"] for row in rows if row["check"] == check) for check in _checks(rows)}
    best = max((check for check in least if check != "any"), key=lambda check: least[check])
    alone = f" ({best} {least[best]:.1%})" if least[best] > 0.0 else ""
    return f"{least['any']:.1%}{alone}"


def _alarms(rows: Rows) -> str:
    healthy = [row for row in rows if row["setting"].startswith("healthy")]
    checks = _checks(healthy)
    names = " | ".join(f"`{check}`" if check != "any" else "any" for check in checks)
    lines = [
        f"| shop | sales | units | {names} | any fails |",
        "| --- | ---: | ---: |" + " ---: |" * (len(checks) + 1),
    ]
    for setting, sales in _settings(healthy):
        for size in SIZES:
            of = [r for r in healthy if (r["setting"], r["sales"], r["units"]) == (setting, sales, size)]
            most = [max(row["speaks"] for row in of if row["check"] == check) for check in checks]
            fails = max(row["fails"] for row in of if row["check"] == "any")
            figures = " | ".join(f"{100 * rate:.1f}" for rate in (*most, fails))
            lines.append(f"| {setting} | {sales:g} | 20 x {size} | {figures} |")
    return "\n".join(lines)


def _checks(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["check"] for row in rows))
