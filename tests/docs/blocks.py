"""Fenced commands of a page, and how they are run.

A block of ``sh`` or ``bash`` is one script. A block of ``console`` has commands after ``$ `` (up to the ``END`` of a
here-document) and below them what they print: ``...`` on a line of its own stands for any lines, inside a line for any
characters. ``<!-- run: parts -->`` above a block says that it needs a running Flipside on a real Kafka and Redis,
``<!-- run: slow -->`` that it takes long.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flipside.schemas import ROOT
from tests.parts.dask_cluster import SCHEDULER, WORKERS

#: pages whose commands another test runs, with the reason
TESTED_ELSEWHERE = {"docs/pricing-engineer.md": "tests/client/test_docs.py runs it against records of a known instant"}
#: commands that are not run as they stand, with the reason; for what is done instead see `adapted`
NOT_RUN = {
    "BOOTSTRAP=kafka:9092 COMMAND_CONFIG=admin.properties FLIPSIDE_NAMESPACE=prices deploy/kafka/access.sh": (
        "needs a broker with an authorizer: tests/e2e/product/test_access.py runs it on one"
    ),
    "make test": "it would run the tests in the tests; `make --dry-run` is run",
    "make demo": "it would make a .venv inside the tests; `make --dry-run` is run, and what it runs by the slow test",
    "FLIPSIDE_METRICS_PORT=9400 flipside worker": "runs until it is stopped: the fixture has started it",
    "flipside analysis": "runs until it is stopped: the fixture has started it",
    'python -m pip install "dask[distributed]"': "it would change .venv, which has it: the development lock",
    SCHEDULER: "runs until it is stopped: tests/analysis/worker/test_parallel.py runs it",
    WORKERS: "runs until it is stopped: tests/analysis/worker/test_parallel.py runs it",
    "FLIPSIDE_ANALYSIS_DASK=127.0.0.1:8786 flipside analysis": (
        "runs until it is stopped: tests/analysis/worker/test_parallel.py computes on the same cluster"
    ),
}
#: page -> what its reader has that nobody should paste: commands that are run before those of the page
SET_UP = {
    "docs/on-call.md": r"""
        sed -E 's/.*"unit":"([^"]*)".*/\1\t&/' examples/catalog.jsonl |
          kcat -P -b 127.0.0.1:9092 -t pricing.catalog.v1 -K '\t' -X topic.partitioner=murmur2_random
        sed 's/juice-random-days/juice/' examples/random_days.yaml > juice.yaml
        flipside experiment submit juice.yaml
        echo 'store-1/brand-1:{"version":1,"id":"till-4711"' |
          kcat -P -b 127.0.0.1:9092 -t pricing.sale.v1 -K : -X topic.partitioner=murmur2_random
        letters="kcat -C -e -q -b 127.0.0.1:9092 -t pricing.experiment.dead-letter.v1"
        timeout 60 sh -c "until $letters | grep till-4711; do sleep 1; done"
    """,
}
SECONDS = 240


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of commands."""

    page: str
    line: int
    language: str
    #: here, parts or slow
    needs: str
    text: str

    def commands(self) -> Iterator[tuple[str, str | None]]:
        """Scripts, each with what it prints, None where the page does not say."""
        if self.language != "console":
            yield self.text, None
            return
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            end = part.find("\nEND\n") + len("\nEND") if "<<'END'" in part else part.index("\n")
            yield part[:end], part[end + 1 :]


def pages() -> list[str]:
    """All pages for people, by path from the root."""
    return ["README.md", "CHANGELOG.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """The blocks of commands of a page, in its order."""
    text = (ROOT / page).read_text()
    pattern = r"(?:^<!-- run: (\w+) -->\n)?^```(sh|bash|console)\n(.*?)^```$"
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[1] or "here", found[3])
        for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    ]


def adapted(script: str) -> str:
    """The script without what is not run; a verb of make is planned instead."""
    lines = []
    for line in script.splitlines():
        command = line.strip()
        if command.startswith("make "):
            lines.append(f"make --dry-run -C {ROOT} {command.removeprefix('make ')} >/dev/null")
        elif command not in NOT_RUN:
            lines.append(line)
    return "\n".join(lines)


def run(
    found: list[Block], folder: Path, environment: Mapping[str, str], addresses: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Run blocks in a folder; returns each command with what it printed, checked against the page."""
    done = []
    for block in found:
        for script, printed in block.commands():
            for written, real in addresses.items():
                script = script.replace(written, real)
            where = f"{block.page}:{block.line}: {script}"
            ended = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", adapted(script)],
                cwd=folder, env=dict(environment), text=True, timeout=SECONDS, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            said = ended.stdout
            assert ended.returncode == 0, f"{where}\nended with {ended.returncode}\n{said}"
            if printed is not None and adapted(script) == script:
                assert re.fullmatch(as_pattern(printed), said), f"{where}\nprinted\n{said}\nthe page says\n{printed}"
            done.append((script, said))
    return done


def set_up(page: str) -> list[Block]:
    """The commands that a page takes for granted, as a block."""
    return [Block(page, 0, "sh", "parts", SET_UP[page])] if page in SET_UP else []


def as_pattern(printed: str) -> str:
    """What a page says is printed, as a regular expression."""
    pattern = ""
    for line in printed.rstrip("\n").splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + r"[ ]*\n"
    return pattern
