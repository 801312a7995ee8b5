"""docs/coverage.md and a page a design in docs/coverage/, written from the figures of
`benchmarks.randomised.coverage`."""

from collections.abc import Iterator
from typing import Any

INTRODUCTION = """\
# Coverage, in simulation

How often the published 95 % intervals contain the truth of a simulated shop, in {runs} runs for each row. Monte-Carlo
error: at most {error:.1f} points. Figures: `make calibration` on {date}, seed {seed}. This page and those of the
designs are written from `benchmarks/results/coverage.json` by `python -m benchmarks.randomised.coverage --page`.

A shop has 28 days of history and 28 of experiment, weekdays, and common daily shocks. Clusters have levels, trends and
autocorrelated noise of their own. The effect is -10 %.

- *Heavy*: levels and noise spread widely; the noise has the tails of Student's t with 3 degrees of freedom.
- *Giant*: one cluster has 40 % of all units.
- *Heterogeneous*: effects differ between clusters, with a standard deviation of 15 points. *All three*: at once.
- *Margin*: the outcome is 3 or 10 % of revenue on average, with a standard deviation of 3 points between clusters and 5
  between days: a base near zero (below).
- *Average* and *total* are the two targets ([methods](methods/effects.md#two-targets)).
- *Ever missed*: at least one interim analysis of the always-valid sequence missed the truth, analysed after every draw.
- *Base*: control's mean, by which an effect is divided to be relative.
- *No relative effect*: share of runs whose base is within three standard errors of zero, so that none is published. The
  coverage of relative effects is that of the runs that publish one. Where most runs publish none, the few that do have
  a standard error that is small by chance. The worst case is triggered, margin of 3 %, 6 clusters.
- *Warned*: the check `concentration` reported that one cluster carries the number.

## All designs

Of effects on the total, in per cent: the lowest and the highest coverage over 6, 10, 20 and 40 clusters, and the
largest share of runs in which the always-valid sequence ever missed. Triggered designs have no such sequence.

| design | shop | absolute | relative | ever missed |
| --- | --- | ---: | ---: | ---: |"""
OF_DESIGN = """\
# Coverage: {design}

What the columns mean: [coverage.md](../coverage.md).
"""
NO_EFFECT = """\
# Coverage: no effect

The same shops without an effect, in per cent of the runs: how often p was below .05 (the absolute and the relative
effect have one p), and how often the relative interval missed zero, of all runs and of those that published one.
*Disagreed* is the number of runs in which the absolute and the relative interval disagreed about zero. The shops and
the other columns: [coverage.md](../coverage.md).

| design | shop | clusters | p below .05 | relative, missed | missed, of those published \
| ever missed, relative | no relative effect | disagreed |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""
HEADER = (
    "| shop | clusters | absolute, average | relative, average | absolute, total | relative, total"
    " | ever missed, absolute | ever missed, relative | no relative effect | warned |"
)
COLUMNS = (
    "absolute average",
    "relative average",
    "absolute total",
    "relative total",
    "ever missed, absolute",
    "ever missed, relative",
)


def pages(shown: dict[str, Any]) -> dict[str, str]:
    """Every page by its path below docs/."""
    rows = shown["rows"]
    with_effect = [row for row in rows if row["effect"]]
    designs = list(dict.fromkeys(row["design"] for row in with_effect))
    named = {design: f"coverage/{design.replace(' ', '-')}.md" for design in designs}
    return {
        "coverage.md": _overview(shown, with_effect, named),
        **{path: _of_design(design, with_effect) for design, path in named.items()},
        "coverage/no-effect.md": "\n".join([NO_EFFECT, *_without_effect(rows), ""]),
    }


def _overview(shown: dict[str, Any], rows: list[dict[str, Any]], named: dict[str, str]) -> str:
    each = sorted({row["runs"] for row in shown["rows"]}, reverse=True)
    runs = f"{each[0]:,}" if len(each) == 1 else f"{each[0]:,} (of margins {each[-1]:,})"
    error = 100 * (0.95 * 0.05 / each[-1]) ** 0.5
    lines = [INTRODUCTION.format(runs=runs, error=error, date=shown["machine"]["date"][:10], seed=shown["seed"])]
    for design, shop in dict.fromkeys((row["design"], row["shop"]) for row in rows):
        of = [row for row in rows if (row["design"], row["shop"]) == (design, shop)]
        absolute, relative = _range(of, "absolute total"), _range(of, "relative total")
        missed = _range(of, "ever missed, absolute").rpartition(" ")[2]
        lines.append(f"| [{design}]({named[design]}) | {shop} | {absolute} | {relative} | {missed} |")
    return "\n".join([*lines, "", "Without an effect: [false positives](coverage/no-effect.md).", ""])


def _range(rows: list[dict[str, Any]], column: str) -> str:
    rates = sorted(100 * row[column]["rate"] for row in rows if row[column]["of"])
    return f"{rates[0]:.1f} to {rates[-1]:.1f}" if rates else "-"


def _of_design(design: str, rows: list[dict[str, Any]]) -> str:
    lines = [OF_DESIGN.format(design=design), HEADER, "| --- |" + " ---: |" * 9]
    return "\n".join([*lines, *(_row(row) for row in rows if row["design"] == design), ""])


def _without_effect(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        if not row["effect"]:
            names = f"| {row['design']} | {row['shop']} | {row['clusters']}"
            rates = f"{_percent(row['p below .05'])} | {_missed(row)} | {_percent(row['ever missed, relative'])}"
            yield f"{names} | {rates} | {_absent(row)} | {row['disagree']} |"


def _row(row: dict[str, Any]) -> str:
    figures = [_percent(row[column]) for column in COLUMNS]
    return f"| {row['shop']} | {row['clusters']} | {' | '.join(figures)} | {_absent(row)} | {_percent(row['warned'])} |"


def _absent(row: dict[str, Any]) -> str:
    return f"{100 * row['no relative effect'] / row['runs']:.1f}"


def _missed(row: dict[str, Any]) -> str:
    found = row["relative total"]
    if not found["of"]:
        return "- | -"
    missed = 1 - found["rate"]
    return f"{100 * missed * found['of'] / row['runs']:.1f} | {100 * missed:.1f}"


def _percent(found: dict[str, Any]) -> str:
    return "-" if not found["of"] else f"{100 * found['rate']:.1f}"
