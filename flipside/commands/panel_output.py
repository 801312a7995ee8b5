"""How panel estimates look in a terminal: tables on stdout, progress and errors on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from analysis.observational.bakeoff import Bakeoff
from analysis.observational.panel_diagnostics import Diagnostics, diagnose
from analysis.observational.panel_estimate import PanelEstimate

#: weights in a row, and units or periods that move the number most
SHOWN, MOVERS = 6, 10


def fail(message: str) -> NoReturn:
    """Say what is wrong on stderr, and leave with 2."""
    Console(stderr=True, soft_wrap=True).print(f"error: {message}", style="red", markup=False, highlight=False)
    raise typer.Exit(2)


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[tuple[Callable[[int], None], Progress]]:
    """A bar on stderr that is told the steps done; gone when finished."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield (lambda n: bar.advance(task, n)), bar


def estimates_table(answers: tuple[PanelEstimate, ...], notes: tuple[str, ...], outcome: str, level: float) -> None:
    """One row a method, then the notes."""
    console = Console(soft_wrap=True)
    first = answers[0]
    table = Table(
        title=f"Effect on {outcome}, observational: {first.n_treated} of {first.n_units} units treated, "
        f"{first.n_pre} periods before and {first.n_post} from the start"
    )
    for name in ("method", "effect", "se", f"{level:.0%} interval", "se by"):
        table.add_column(name, justify="left" if name in ("method", "se by") else "right")
    for answer in answers:
        table.add_row(
            answer.method,
            _number(answer.effect),
            _number(answer.se),
            "" if answer.ci_low is None else f"{_number(answer.ci_low)} to {_number(answer.ci_high)}",
            str(dict(answer.settings).get("se", "")),
        )
    console.print(table)
    for sentence in notes:
        console.print(f"note: {sentence}", markup=False, highlight=False)
    for answer in answers:
        for sentence in answer.warnings:
            console.print(f"{answer.method}: {sentence}", markup=False, highlight=False)


def diagnostics_tables(answers: tuple[PanelEstimate, ...]) -> None:
    """For each method and cohort: weights, influence, and the checks before the treatment."""
    console = Console(soft_wrap=True)
    for answer in answers:
        if answer.fit is None:
            continue
        for found in diagnose(answer.fit, answer.placebos):
            console.print(_diagnostics_table(answer, found))


def _diagnostics_table(answer: PanelEstimate, found: Diagnostics) -> Table:
    table = Table(title=f"{answer.method}, treated from {found.cohort}", show_header=False)
    if found.pre_fit is not None:
        table.add_row(
            "pre-period fit", f"{_number(found.pre_fit)} ({found.relative_pre_fit:.2f} of the treated spread)"
        )
    if found.effective_controls is not None:
        table.add_row("effective controls", f"{found.effective_controls:.1f}")
    for name, weights in (("controls", found.unit_weights), ("pre-periods", found.time_weights)):
        if weights:
            table.add_row(name, ", ".join(f"{one.label} {one.weight:.3f}" for one in weights[:SHOWN]))
    for name, influence in (("without unit", found.unit_influence), ("without period", found.period_influence)):
        if influence:
            table.add_row(name, ", ".join(f"{one.label} {_number(one.effect_without)}" for one in influence[:MOVERS]))
    if found.pre_trend is not None:
        trend = found.pre_trend
        table.add_row("pre-trend a period", f"{_number(trend.slope)} (se {_number(trend.slope_se)})")
        table.add_row("effect if it went on", _number(trend.effect_if_continued))
    if found.time_placebos:
        table.add_row("pretended start", ", ".join(f"{one.start} {_number(one.effect)}" for one in found.time_placebos))
    if found.placebo_quantiles is not None:
        low, *_, high = found.placebo_quantiles
        table.add_row("placebos, 95 %", f"{_number(low)} to {_number(high)}; p = {found.p_value:.3f}")
    return table


def bakeoff_table(report: Bakeoff, notes: tuple[str, ...], outcome: str) -> None:
    """One row a method, best first, with its standard errors beside it; then the recommendation."""
    console = Console(soft_wrap=True)
    table = Table(
        title=f"{report.n_placebos} placebo blocks ({report.n_treated} unit(s), {report.n_post} periods): errors in "
        f"units of {outcome}, Monte-Carlo error in brackets"
    )
    for name in ("method", "RMSE", "bias", "RMSE, uneven effects", f"coverage of {report.level:.0%} (width)"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for score in report.scores:
        table.add_row(
            score.method + ("" if not score.as_good_as_best else " *"),
            f"{_number(score.rmse.value)} ({_number(score.rmse.se)})",
            f"{_number(score.bias.value)} ({_number(score.bias.se)})",
            _number(score.stress_rmse.value),
            "\n".join(
                f"{one.kind} {one.coverage.value:.2f} ({one.coverage.se:.2f}), {_number(one.width.value)}"
                for one in score.standard_errors
            ),
        )
    console.print(table)
    console.print("* cannot be told from the best with this many placebos", markup=False, highlight=False)
    for method, reason in report.refused:
        console.print(f"{method}: {reason}", markup=False, highlight=False)
    reasons = dict(pair for score in report.scores for pair in score.refused)
    for kind, reason in reasons.items():
        console.print(f"no {kind}: {reason}", markup=False, highlight=False)
    for sentence in notes:
        console.print(f"note: {sentence}", markup=False, highlight=False)
    console.print(report.recommendation, markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
