"""The list of verbs teaches, and names only what there is."""

import re
import subprocess

from flipside.schemas import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PROMISED = {"help", "install", "demo", "test", "test-all", "lint", "schemas", "lock", "clean"}


def make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_every_verb_with_what_it_does() -> None:
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", make(), re.MULTILINE))
    documented = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert set(listed) == documented
    assert set(listed) >= PROMISED


def test_every_verb_can_be_planned() -> None:
    for verb in sorted(PROMISED):
        make("--dry-run", verb)


def test_modules_that_verbs_run_are_there() -> None:
    for module in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", MAKEFILE):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_a_test_run_of_ci_ends_with_the_tests() -> None:
    steps = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")]
    assert steps == ["make --no-print-directory lint", "make --no-print-directory test"]
