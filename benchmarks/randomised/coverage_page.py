"""docs/coverage.md, written from the figures of `benchmarks.randomised.coverage`."""

from typing import Any

INTRODUCTION = """\
# Coverage, in simulation

How often the published 95 % intervals held the truth of a simulated shop: {runs} runs of each row, Monte-Carlo error
{error:.1f} points; `make calibration` on {date}, seed {seed}. This page is written from
`benchmarks/results/coverage.json` by `python -m benchmarks.randomised.coverage --page`.

A shop has 28 days of history and 28 of experiment; clusters with levels, trends and noise of their own that remembers,
weekdays, and days that are good for all; the effect is -10 %. *Heavy*: levels and noise spread widely, noise with the
tails of Student's t of 3. *Giant*: one cluster has 40 % of all units. *Heterogeneous*: clusters have effects of their
own, with a standard deviation of 15 points. *All three*: at once. *Margin*: the outcome is what is left of revenue, 3
or 10 % of it on average, more or less by 3 points between clusters and 5 between days: a base near zero. *Average* and
*total* are the two targets ([methods.md](methods.md#two-targets)). *Ever missed*: some look of the always-valid
sequence missed, looked at after every draw. *No relative effect*: share of runs whose base is within three standard
errors of zero, so that none is published; the coverage of relative effects is that of the runs which publish one.
Where most runs publish none, the few that do are those whose standard error came out small by chance: triggered,
margin of 3 %, 6 clusters is the worst. *Warned*: the check `concentration` said that one cluster carries the number.
"""
NO_EFFECT = """\
## No effect

The same without an effect: how often p was below .05 (there is one p for the absolute and the relative effect), how
often the relative interval missed zero where it was published, and in how many runs the two disagreed about zero.

| design | shop | clusters | p below .05 | relative, missed | ever missed, relative | no relative effect | disagreed |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""
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


def page(shown: dict[str, Any]) -> str:
    """The whole page."""
    rows = shown["rows"]
    each = sorted({row["runs"] for row in rows}, reverse=True)
    runs = f"{each[0]:,}" if len(each) == 1 else f"{each[0]:,} (of margins {each[-1]:,})"
    error = 100 * (0.95 * 0.05 / each[-1]) ** 0.5
    lines = [INTRODUCTION.format(runs=runs, error=error, date=shown["machine"]["date"][:10], seed=shown["seed"])]
    for design in dict.fromkeys(row["design"] for row in rows):
        lines += [f"## {design.capitalize()}", "", HEADER, "| --- |" + " ---: |" * 9]
        lines += [_row(row) for row in rows if row["design"] == design and row["effect"]]
        lines.append("")
    lines.append(NO_EFFECT)
    lines += [
        f"| {row['design']} | {row['shop']} | {row['clusters']} | {_percent(row['p below .05'])} | {_missed(row)}"
        f" | {_percent(row['ever missed, relative'])} | {_absent(row)} | {row['disagree']} |"
        for row in rows
        if not row["effect"]
    ]
    return "\n".join([*lines, ""])


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
