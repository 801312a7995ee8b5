"""What a person sees: a live view, a progress bar on long work, and a summary at its end."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flipside.replay.progress import Progress as Step
from flipside.replay.progress import Result

ROWS_SHOWN = 14
#: columns of the interval's drawing, and the effect at its two ends
DRAWING, DRAWN_FROM, DRAWN_TO = 41, -0.25, 0.25


@contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[Step], None]]:
    """A bar on standard error, with events and the running estimate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=total, note="")

        def advance(step: Step) -> None:
            bar.update(task, completed=step.period, note=f"{step.events:,} sales; {estimate_text(step)}")

        yield advance


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A count on standard error that grows with what is read; for work of unknown length."""
    console = Console(stderr=True)
    columns = (TextColumn("reading"), TextColumn("{task.completed:,.0f} " + what), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda count: bar.advance(task, count)


def estimate_text(step: Step) -> str:
    """The running estimate in words."""
    estimate = step.estimate
    if estimate is None:
        return "no day closed yet"
    if estimate.relative is None:
        return f"none: {estimate.reason_absent}"
    r = estimate.relative
    if r.ci_low is None or r.ci_high is None:
        return f"{r.value:+.1%} [cannot be bounded]"
    return f"{r.value:+.1%} [{r.ci_low:+.1%}, {r.ci_high:+.1%}]"


def drawing(step: Step, truth: float) -> str:
    """The interval against the truth (|) and zero (:), as a line of text."""

    def column(value: float) -> int:
        share = (value - DRAWN_FROM) / (DRAWN_TO - DRAWN_FROM)
        return min(DRAWING - 1, max(0, round(share * (DRAWING - 1))))

    line = [" "] * DRAWING
    if step.estimate is not None and step.estimate.relative is not None:
        r = step.estimate.relative
        low = DRAWN_FROM if r.ci_low is None else r.ci_low
        high = DRAWN_TO if r.ci_high is None else r.ci_high
        line[column(low) : column(high) + 1] = "-" * (column(high) - column(low) + 1)
        line[column(r.value)] = "o"
    line[column(0.0)] = ":" if line[column(0.0)] == " " else line[column(0.0)]
    line[column(truth)] = "|"
    return "".join(line)


@contextmanager
def live_view(truth: float) -> Iterator[Callable[[Step], None]]:
    """A table that grows by a row a day on a terminal; plain lines elsewhere."""
    console = Console()
    steps: list[Step] = []

    def table() -> Table:
        found = Table(title=f"flipside demo; the true effect on units sold is {truth:+.1%}")
        for name in ("day", "arms flipped", "kept by blackout", "sales so far", "effect [95 % interval]"):
            found.add_column(name, justify="left" if name == "day" else "right")
        found.add_column(f"{DRAWN_FROM:+.0%}  truth |  zero :  {DRAWN_TO:+.0%}", width=DRAWING)
        for step in steps[-ROWS_SHOWN:]:
            found.add_row(*row(step), drawing(step, truth))
        return found

    def row(step: Step) -> tuple[str, ...]:
        return (str(step.day), f"{step.flips}", f"{step.blocked}", f"{step.events:,}", estimate_text(step))

    if not console.is_terminal:
        yield lambda step: print("  ".join(row(step)), flush=True)
        return
    with Live(table(), console=console, refresh_per_second=10) as live:

        def show(step: Step) -> None:
            steps.append(step)
            live.update(table())

        yield show


def say_first_assignment(seconds: float) -> None:
    """Tell when the first assignment arrived, as soon as it has."""
    print(f"a pricing system holds its first assignment, {seconds:.1f} s after the market opened", flush=True)


def print_json(result: Result, report: Path | None = None) -> None:
    """One object, as the last line; with the path of its report, where one was written."""
    shown: dict[str, object] = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in ("estimates", "log", "messages", "broken_promises")
    }
    ended = result.ended
    shown["ended"] = None if ended is None else {**dataclasses.asdict(ended), "day": str(ended.day)}
    shown["broken_promises"] = [dataclasses.asdict(violation) for violation in result.broken_promises]
    if report is not None:
        shown["report"] = str(report)
    print(json.dumps(shown))


def print_object(shown: Mapping[str, Any]) -> None:
    """One object, as the last line."""
    print(json.dumps(shown))


def summary(result: Result) -> None:
    """The outcome of a replay or a demo."""
    table = Table(title=f"{result.experiment}: effect on units sold, relative to control", show_header=False)
    table.add_row("true effect (planted)", f"{result.truth:+.2%}")
    if result.estimate is None or result.ci_low is None or result.ci_high is None:
        table.add_row("estimate", f"none: {result.reason_absent}")
    else:
        inside = result.ci_low <= result.truth <= result.ci_high
        table.add_row("estimate", f"{result.estimate:+.2%} (standard error {result.se:.2%})")
        table.add_row("95 % interval", f"[{result.ci_low:+.2%}, {result.ci_high:+.2%}]")
        table.add_row("truth inside", "yes" if inside else "no: expected of 1 in 20 intervals")
    if result.ended is not None:
        done = "reverted" if result.ended.action == "revert" else "paused"
        table.add_row(
            f"{done} by the guardrail on {result.ended.metric}",
            f"after {result.ended.after_days} of {result.ended.of_days} days",
        )
    table.add_row("unit-days used", f"{result.cells:,}")
    table.add_row("sales sent / counted", f"{result.events_in:,} / {result.events_counted:,}")
    table.add_row("dead letters, revisions", f"{result.dead_lettered}, {result.revisions}")
    if result.triggers:
        table.add_row("rivals' moves, entries", f"{result.triggers:,}, {result.entries:,}")
    table.add_row("arms changed, kept by blackouts", f"{result.flips:,}, {result.flips_blocked:,}")
    table.add_row("broken promises", str(result.violations))
    table.add_row("design hash", result.design_hash)
    table.add_row("seconds", f"{result.seconds:.1f}")
    console = Console()
    console.print(table)
    for violation in result.broken_promises[:20]:
        console.print(f"broken: {violation.promise}: {violation.what}")
