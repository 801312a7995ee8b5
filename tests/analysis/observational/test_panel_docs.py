"""The commands of docs/panel.md run, in order, in an empty folder, and say what the page says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "panel.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Output of each command; they share a folder, as they do for a reader."""
    folder = tmp_path_factory.mktemp("docs")
    found = {}
    for line in "".join(blocks("bash")).strip().splitlines():
        words = shlex.split(line)
        launcher = [sys.executable] if words[0] == "python" else [str(Path(sys.executable).with_name("flipside"))]
        done = subprocess.run(
            [*launcher, *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        found[line] = done.stdout
    return found


def test_every_command_of_the_page_runs(outputs: dict[str, str]) -> None:
    assert len(outputs) >= 4
    assert all(outputs.values())


def test_the_sample_is_what_the_page_says_it_is(outputs: dict[str, str]) -> None:
    first = next(iter(outputs.values()))
    assert blocks("text")[0] == first


def test_the_recommended_method_comes_near_the_truth(outputs: dict[str, str]) -> None:
    bakeoff = next(text for line, text in outputs.items() if line.startswith("flipside bakeoff"))
    assert bakeoff.splitlines()[-1].startswith("Use ")
    estimate = next(text for line, text in outputs.items() if "--diagnostics" in line)
    effect = float(re.search(r"sdid\D+([\d.]+)", estimate.split("method", 1)[1]).group(1))  # type: ignore[union-attr]
    assert effect == pytest.approx(0.12, abs=0.05)
