"""What must not stand in the repository: paths of somebody's machine, and names of package registries."""

import re
import subprocess

import pytest

from flipside.schemas import ROOT

#: a lock file names packages and hashes, never where they came from
HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "repo1." + "maven", "repo.maven" + ".apache", "registry." + "npmjs")
#: a path that only some machine has
MACHINE = re.compile(r"(?<![\w./-])/(?:" + "work|root|home|Users" + r")/\w|(?<![\w./-])/tmp/\w")


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def lines(name: str) -> list[str]:
    return (ROOT / name).read_bytes().decode(errors="replace").splitlines()


def test_no_path_of_a_machine_stands_in_a_file() -> None:
    found = [f"{name}: {line.strip()[:120]}" for name in files() for line in lines(name) if MACHINE.search(line)]
    assert not found


def test_no_host_of_a_package_registry_stands_in_a_file() -> None:
    found = [f"{name}: {host}" for name in files() for line in lines(name) for host in HOSTS if host in line.lower()]
    assert not found


@pytest.mark.parametrize(
    "line", ["see /wo" + "rk/main", "cd /ro" + "ot/x", "open('/tm" + "p/scratch')", "/ho" + "me/me"]
)
def test_a_path_of_a_machine_is_seen(line: str) -> None:
    assert MACHINE.search(line)


@pytest.mark.parametrize("line", ["WORKDIR /tmp", "a/root/b", "$HOME/work/x", "https://example.com/home/x"])
def test_what_is_no_path_of_a_machine_is_let_pass(line: str) -> None:
    assert not MACHINE.search(line)
