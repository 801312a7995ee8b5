"""`flipside demo`, as somebody runs it who has just installed it: no Docker, no Java, no settings."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis import read_estimates
from analysis.export.formatting import percent
from flipside.schemas import ROOT
from streams.runtime.settings import child_environment

KEYS = {
    "experiment", "design_hash", "truth", "estimate", "se", "ci_low", "ci_high", "cells", "events_in",
    "events_counted", "dead_lettered", "revisions", "flips", "flips_blocked", "violations", "seconds", "report",
}  # fmt: skip
MEMORY_MB = 400


@dataclass(frozen=True, slots=True)
class Demo:
    """What a run of the demo printed, and what it took, seen from outside."""

    code: int
    lines: tuple[str, ...]
    errors: str
    #: from the start of the process until a line said that an assignment was consumed
    first_assignment_seconds: float
    seconds: float
    #: the peaks of all its processes together
    memory_mb: float


def peaks(pid: int) -> dict[int, float]:
    """Peak resident memory, in MB, of a process and of all that descend from it."""
    found: dict[int, float] = {}
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return found
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    if peak is not None:
        found[pid] = int(peak[1]) / 1024
    for child in children:
        found |= peaks(int(child))
    return found


async def demo(*arguments: str) -> Demo:
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flipside", "demo", *arguments,
        env=child_environment({"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    memory: dict[int, float] = {}
    first = float("nan")
    async for line in process.stdout:
        lines.append(line.decode().rstrip())
        memory |= peaks(process.pid)
        if "holds its first assignment" in lines[-1]:
            first = time.monotonic() - started
    assert process.stderr is not None
    errors = (await process.stderr.read()).decode()
    code = await process.wait()
    return Demo(code, tuple(lines), errors, first, time.monotonic() - started, sum(memory.values()))


async def output(*arguments: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flipside", *arguments, env=child_environment({}), stdout=asyncio.subprocess.PIPE
    )
    found, _ = await process.communicate()
    assert process.returncode == 0
    return found.decode()


async def test_a_month_succeeds_with_the_truth_inside_and_in_little_memory(
    record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    found = await demo("--out", str(tmp_path / "outcome"))
    for name in ("first_assignment_seconds", "seconds", "memory_mb"):
        record_property(name, round(getattr(found, name), 1))
    print(f"{found.first_assignment_seconds=:.1f} {found.seconds=:.1f} {found.memory_mb=:.0f}")
    text = "\n".join(found.lines)
    assert found.code == 0, text + found.errors
    readme = (ROOT / "README.md").read_text()
    assert readme[readme.index("│ true effect") : readme.index("│ seconds")] in text, "the table of the README"
    assert re.search(r"truth inside\W+yes", text), text
    assert re.search(r"broken promises\W+0", text), text
    assert found.first_assignment_seconds == found.first_assignment_seconds, "no line told of an assignment"
    assert found.memory_mb < MEMORY_MB
    assert found.lines[-1] == f"report, with pictures: {tmp_path / 'outcome' / 'report.html'}"
    assert (tmp_path / "outcome" / "report.html").stat().st_size > 100_000
    last = max(read_estimates(tmp_path / "outcome", "demo").to_pylist(), key=lambda row: (row["day"], row["metric"]))
    assert last["metric"] == "units"
    quoted = f"{percent(last['relative'])} [{percent(last['relative_low'])}, {percent(last['relative_high'])}]"
    assert re.search(rf"estimate\W+{re.escape(quoted)}", text), text
    # The number that is quoted is the same one on the page, in its table, and in `flipside estimates`.
    page = (tmp_path / "outcome" / "report.html").read_text()
    assert quoted in re.findall("<h1>(.*)</h1>", page)[0]
    assert f"<td>{quoted}</td>" in page
    listed = await output("estimates", "demo", "--from", str(tmp_path / "outcome"))
    (units,) = [line for line in listed.splitlines() if "units" in line and "demo" in line]
    assert f"{quoted}   fixed-horizon 95 %   always-valid 95 %: " in units
    other = re.findall(r"always-valid 95 %: (\S+ % \[.*? %, .*? %\])", units)[0]
    assert other in page
    # The shop reports what it shows, as a real one does: nothing on the page is doubtful for want of it.
    assert "100.0% of 3324 assigned unit-days have a reported price" in page
    assert '<p class="warning">' not in page
    rows = [line for line in found.lines if re.match(r"\d{4}-", line)]
    assert found.lines[found.lines.index(rows[0]) - 1].split()[:3] == ["day", "flips", "kept"]
    assert max(map(len, rows)) <= 80


async def test_a_few_days_with_json_end_in_one_object_with_the_documented_keys(tmp_path: Path) -> None:
    found = await demo("--days", "6", "--json", "--out", str(tmp_path))
    assert found.code == 0, found.errors
    said = json.loads(found.lines[-1])
    assert said.keys() >= KEYS
    assert (said["truth"], said["violations"], said["dead_lettered"]) == (-0.10, 0, 0)
    assert said["events_counted"] == said["events_in"] == 20 * 6 * 6
    assert said["ci_low"] <= said["estimate"] <= said["ci_high"]


@pytest.mark.slow
async def test_a_market_with_substitution_ends_in_the_naive_and_the_corrected_effects_beside_the_planted_ones(
    tmp_path: Path,
) -> None:
    found = await demo("--spillover", "--json", "--out", str(tmp_path))
    assert found.code == 0, found.errors
    said = json.loads(found.lines[-1])
    assert said["violations"] == 0
    effects = {(row["metric"], row["effect"], row["exposure_estimator"]): row for row in said["effects"]}
    for metric in ("units", "revenue", "margin"):
        naive, total = effects[metric, "naive", "hajek"], effects[metric, "total", "hajek"]
        assert total["low"] <= total["planted"] <= total["high"]
        assert abs(total["value"] - total["planted"]) < abs(naive["value"] - total["planted"])
        assert not naive["low"] <= total["planted"] <= naive["high"], "the naive interval leaves the truth out"
    assert "Who pays for it" in (tmp_path / "report.html").read_text()
