"""The list of verbs teaches, and names only what there is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flipside.schemas import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PROMISED = {"help", "install", "demo", "test", "test-all", "test-fast", "cover", "lint", "format", "types", "schemas",
            "lock", "clean"}  # fmt: skip
#: as from a shell, though `make test ARGS=...` may have started us: make hands its options down
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}


def make(*arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(["make", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout


def test_make_alone_lists_every_verb_with_what_it_does() -> None:
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", make(), re.MULTILINE))
    documented = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert set(listed) == documented
    assert set(listed) >= PROMISED


def test_every_verb_can_be_planned() -> None:
    for verb in sorted(PROMISED):
        make("--dry-run", verb)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which `make install` has nothing to do."""
    for name in (
        "Makefile",
        "requirements-uv.lock",
        "requirements-dev.lock",
        "pyproject.toml",
        "client/pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text(f"command = python -m venv --clear {tmp_path.resolve()}/.venv\n")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def test_what_is_installed_is_not_installed_again(installed: Path) -> None:
    assert "rm -rf" not in make("--dry-run", "install", folder=installed)
    assert "pip install" not in make("--dry-run", "install", folder=installed)


def test_the_venv_of_a_copied_folder_is_made_anew(installed: Path) -> None:
    copied = installed.with_name(f"{installed.name}-copied")
    shutil.copytree(installed, copied)
    planned = make("--dry-run", "install", folder=copied)
    assert planned.index("rm -rf .venv") < planned.index("-m venv") < planned.index("pip install")


def test_modules_that_verbs_run_are_there() -> None:
    for module in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", MAKEFILE):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_a_test_run_of_ci_ends_with_the_tests() -> None:
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    assert steps[-4:-2] == ["make --no-print-directory lint", "make --no-print-directory test"]
    assert steps[-1].endswith(" .ci/bare")
