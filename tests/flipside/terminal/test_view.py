"""The demo on terminals of several widths: a day is one whole line; without a terminal, rows stand under names."""

import io
from datetime import date, timedelta

import pytest
from rich.console import Console

from controller.messages.events import EffectEstimate, Estimate
from controller.messages.findings import RunningSequence
from flipside.replay.progress import Progress
from flipside.terminal.view import COLUMNS, ROWS_SHOWN, live_table, live_view
from tests.analysis.outcomes import messages_of
from tests.analysis.traffic import experiment

DAYS = 20
FIRST = date(1990, 3, 12)


def steps() -> list[Progress]:
    """Days as the demo has them: the first without a number, and one with a wide interval."""
    said = messages_of(experiment(12, 3, 14))
    estimate = [m for m in said if isinstance(m, Estimate) and m.metric == "units"][-1]
    sequence = [m for m in said if isinstance(m, RunningSequence) and m.metric == "units"][-1]
    effect = EffectEstimate(value=-0.023, se=0.1, ci_low=-0.239, ci_high=0.256, p=0.5)
    wide = estimate.model_copy(update={"relative": effect, "planned_day": FIRST})
    return [
        Progress(
            k + 1, DAYS, FIRST + timedelta(k), 123_400 + k, 120, 18, None if k < 2 else wide if k == 5 else estimate,
            1.0, None if k < 2 or k == 5 else sequence,
        )
        for k in range(DAYS)
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 110, 120])
def test_a_day_is_one_whole_line_and_fits(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(live_table(steps(), -0.1, width))
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, shown)) <= width
    assert not any("…" in line for line in shown), "something is cut"
    for step in steps()[-ROWS_SHOWN:]:
        (line,) = [line for line in shown if str(step.day) in line]
        assert f"{step.events:,}" in line
        assert "%]" in line
    header = next(line for line in shown if "effect [95 % interval]" in line)
    assert all(name in header for name, _, _ in COLUMNS)
    assert ("zero : truth |" in header) == (width >= 100)


def test_what_is_shown_at_eighty_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(live_table(steps()[4:6], -0.1, 80))
    wide = next(line for line in console.file.getvalue().splitlines() if "1990-03-17" in line)  # type: ignore[attr-defined]
    assert wide == "│ 1990-03-17 │   120 │   18 │ 123,405 │ −2.3 % [−23.9 %, +25.6 %]    │"


def test_the_live_view_draws_the_last_days_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with live_view(-0.1, console) as show:
        for step in steps():
            show(step)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the true effect on units sold is −10.0 %" in shown
    last = shown.rpartition("flipside demo;")[2].splitlines()
    assert len([line for line in last if line.startswith("│ 1990")]) == ROWS_SHOWN


def test_without_a_terminal_the_rows_stand_under_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    with live_view(-0.1, Console(file=io.StringIO(), force_terminal=False)) as show:
        for step in steps()[:4]:
            show(step)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "day         flips  kept    sales  effect [95 % interval]"
    assert rows[0] == "1990-03-12    120    18  123,400  no day closed yet"
    assert len(rows) == 4
    assert all(row.index("123,4") == header.index("sales") - 2 for row in rows)
