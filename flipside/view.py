"""What a person sees: a progress bar on long work, and a summary at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flipside.replay import Progress as Step
from flipside.replay import Result


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


def estimate_text(step: Step) -> str:
    """The running estimate in words."""
    estimate = step.estimate
    if estimate is None:
        return "no estimate yet"
    if estimate.relative is None:
        return f"no estimate: {estimate.reason_absent}"
    r = estimate.relative
    return f"effect {r.value:+.2%} [{r.ci_low:+.2%}, {r.ci_high:+.2%}] through {estimate.through}"


def summary(result: Result) -> None:
    """The outcome of a replay or a demo."""
    table = Table(title=f"{result.experiment}: effect on units sold, relative to control", show_header=False)
    table.add_row("true effect (planted)", f"{result.truth:+.2%}")
    if result.estimate is None:
        table.add_row("estimate", f"none: {result.reason_absent}")
    else:
        inside = (result.ci_low or 0) <= result.truth <= (result.ci_high or 0)
        table.add_row("estimate", f"{result.estimate:+.2%} (standard error {result.se:.2%})")
        table.add_row("95 % interval", f"[{result.ci_low:+.2%}, {result.ci_high:+.2%}]")
        table.add_row("truth inside", "yes" if inside else "no: expected of 1 in 20 intervals")
    table.add_row("unit-days used", f"{result.cells:,}")
    table.add_row("sales sent / counted", f"{result.events_in:,} / {result.events_counted:,}")
    table.add_row("dead letters, revisions", f"{result.dead_lettered}, {result.revisions}")
    table.add_row("flips, blocked by blackouts", f"{result.flips:,}, {result.flips_blocked:,}")
    table.add_row("broken promises", str(result.violations))
    table.add_row("design hash", result.design_hash)
    table.add_row("seconds", f"{result.seconds:.1f}")
    console = Console()
    console.print(table)
    for violation in result.broken_promises[:20]:
        console.print(f"broken: {violation.promise}: {violation.what}")
