"""`make bench-panel` shows how far it is while it runs."""

import io
from pathlib import Path

from rich.console import Console

from benchmarks.observational.panel import Measured, measure


def test_a_line_is_written_as_each_task_is_done_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    seen: list[str] = []

    def task(name: str) -> Measured:
        seen.append(console.file.getvalue())  # type: ignore[attr-defined]
        return Measured(name, 0.1, 1.0, None)

    found = measure({"a": lambda *_: task("a"), "b": lambda *_: task("b")}, "python", Path(), console)
    assert [one.task for one in found] == ["a", "b"]
    assert seen[0] == ""
    assert seen[1].startswith("1 of 2 done: a, "), "the second began before anything was said of the first"
    assert console.file.getvalue().splitlines()[1].startswith("2 of 2 done: b, ")  # type: ignore[attr-defined]
