"""What a person sees: a live view, a progress bar on long work, and a summary at its end."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from analysis.export.formatting import percent
from flipside.replay.progress import Progress as Step
from flipside.replay.progress import Result

ROWS_SHOWN = 14
#: columns of the interval's drawing at most and at least, and the effect at its two ends
DRAWING, LEAST_DRAWING, DRAWN_FROM, DRAWN_TO = 41, 9, -0.25, 0.25
#: columns from which there is room for the legend
WIDE = 80


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
    """The number to quote as of now: always-valid before the planned day."""
    from analysis.export.headline import quoted_text

    found = step.headline
    if found is None:
        return "no day closed yet"
    # The reason is as long as it must be, and stands in the summary and in the report.
    return "no number yet" if found.quoted is None else quoted_text(found)


def drawing(step: Step, truth: float, columns: int) -> str:
    """The interval against the truth (|) and zero (:), as a line of text."""

    def column(value: float) -> int:
        share = (value - DRAWN_FROM) / (DRAWN_TO - DRAWN_FROM)
        return min(columns - 1, max(0, round(share * (columns - 1))))

    line, found = [" "] * columns, step.headline
    if found is not None and found.quoted is not None and found.quoted.relative is not None:
        r = found.quoted.relative
        low = DRAWN_FROM if r.low is None else r.low
        high = DRAWN_TO if r.high is None else r.high
        line[column(low) : column(high) + 1] = "-" * (column(high) - column(low) + 1)
        line[column(r.value)] = "o"
    line[column(0.0)] = ":" if line[column(0.0)] == " " else line[column(0.0)]
    line[column(truth)] = "|"
    return "".join(line)


#: of the live table's columns: title, width and where its text stands
COLUMNS: tuple[tuple[str, int, Literal["left", "right"]], ...] = (
    ("day", 10, "left"),
    ("flips", 5, "right"),
    ("kept", 4, "right"),
    ("sales", 7, "right"),
    ("effect [95 % interval]", 28, "left"),
)
LEGEND = (
    "flips: units whose arm changed that day; kept: units whose arm a blackout kept; sales: so far;\n"
    "interval: always-valid, however often it is looked at"
)


def row(step: Step) -> tuple[str, ...]:
    """What is shown of a day."""
    return (str(step.day), f"{step.flips}", f"{step.blocked}", f"{step.events:,}", estimate_text(step))


def live_table(steps: Sequence[Step], truth: float, columns: int) -> Table:
    """The last days, one line each, on a terminal of so many columns; a drawing of the interval takes what is left."""
    # Lines between the columns, and a blank on either side of each.
    taken = sum(width + 3 for _, width, _ in COLUMNS) + 1
    drawn = min(DRAWING, columns - taken - 3)
    drawn -= 1 - drawn % 2  # of an odd number, so that there is a middle
    title = f"flipside demo; the true effect on units sold is {percent(truth)}"
    found = Table(title=title, caption=LEGEND if columns >= WIDE else None, caption_justify="left")
    for name, width, justify in COLUMNS:
        found.add_column(name, justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    if drawn >= LEAST_DRAWING:
        found.add_column("zero : truth |", width=drawn, no_wrap=True)
    for step in steps[-ROWS_SHOWN:]:
        found.add_row(*row(step), *([drawing(step, truth, drawn)] if drawn >= LEAST_DRAWING else []))
    return found


def header_line() -> str:
    """The names of the columns, for rows that are printed one by one."""
    return _line([name for name, _, _ in COLUMNS])


def row_line(step: Step) -> str:
    """A day as a line of text, below `header_line`."""
    return _line(row(step))


def _line(cells: Sequence[str]) -> str:
    padded = (
        cell.rjust(width) if justify == "right" else cell.ljust(width)
        for cell, (_, width, justify) in zip(cells, COLUMNS, strict=True)
    )
    return "  ".join(padded).rstrip()


@contextmanager
def live_view(truth: float, console: Console | None = None) -> Iterator[Callable[[Step], None]]:
    """A table that grows by a row a day on a terminal; a header and plain lines elsewhere."""
    console, steps = console or Console(), list[Step]()
    if not console.is_terminal:

        def print_row(step: Step) -> None:
            if not steps:
                print(header_line(), flush=True)
            steps.append(step)
            print(row_line(step), flush=True)

        yield print_row
        return
    with Live(live_table(steps, truth, console.width), console=console, refresh_per_second=10) as live:

        def show(step: Step) -> None:
            steps.append(step)
            live.update(live_table(steps, truth, console.width))

        yield show


def say_first_assignment(seconds: float) -> None:
    """Tell when the first assignment arrived, as soon as it has."""
    print(f"a pricing system holds its first assignment, {seconds:.1f} s after the market opened", flush=True)


def print_json(result: Result, report: Path | None = None, who_responds: object = None) -> None:
    """One object, as the last line; with the path of its report and who responds, where one was written."""
    shown: dict[str, object] = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in ("estimates", "log", "messages", "broken_promises", "headline")
    }
    ended = result.ended
    shown["ended"] = None if ended is None else {**dataclasses.asdict(ended), "day": str(ended.day)}
    shown["broken_promises"] = [dataclasses.asdict(violation) for violation in result.broken_promises]
    if report is not None:
        shown["report"] = str(report)
    if who_responds is not None:
        shown["who_responds"] = who_responds
    print(json.dumps(shown))


def print_object(shown: Mapping[str, Any]) -> None:
    """One object, as the last line."""
    print(json.dumps(shown))


def quoted_rows(result: Result) -> list[tuple[str, str]]:
    """The number to quote, by name, whether it covers the truth, and the other one."""
    from analysis.export.headline import interval_text, kind_text, other_text

    found = result.headline
    if found is None or found.quoted is None or found.quoted.relative is None:
        return [("estimate", f"none: {result.reason_absent}")]
    span = found.quoted.relative
    rows = [("estimate", interval_text(span)), ("its interval", kind_text(found, found.quoted))]
    if span.low is not None and span.high is not None:
        inside = span.low <= result.truth <= span.high
        rows.append(("truth inside", "yes" if inside else "no: expected of 1 in 20 intervals"))
    beside = other_text(found)
    return [*rows, ("beside it", beside)] if beside else rows


def summary(result: Result) -> None:
    """The outcome of a replay or a demo."""
    table = Table(title=f"{result.experiment}: effect on units sold, relative to control", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("true effect (planted)", percent(result.truth))
    for name, said in quoted_rows(result):
        table.add_row(name, said)
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
