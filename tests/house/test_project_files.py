"""What a stranger looks for in a repository is there, and says the same everywhere."""

import re
import tomllib

import pytest

from flipside.schemas import ROOT


@pytest.mark.parametrize("project", ["pyproject.toml", "client/pyproject.toml"])
def test_each_distribution_names_and_carries_its_licence(project: str) -> None:
    described = tomllib.loads((ROOT / project).read_text())["project"]
    assert (described["license"], described["license-files"]) == ("Apache-2.0", ["LICENSE"])
    licence = (ROOT / project).with_name("LICENSE").read_text()
    assert licence == (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_verbs_and_files_that_contributors_are_told_of_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", page)) <= verbs
    for name in re.findall(r"`((?:\w+/)+(?:[\w-]+\.\w+)?)`", page):
        assert (ROOT / name).exists(), f"CONTRIBUTING.md names {name}"


def test_links_of_the_pages_at_the_root_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for target in re.findall(r"\]\(([^)\s#]+)", (ROOT / page).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{page} links to {target}"


def test_what_tests_share_lies_in_no_file_of_tests() -> None:
    files = [
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "client/tests").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
    imports = re.compile(r"^from tests\.(?:\w+\.)*test_\w+ import|^import tests\.(?:\w+\.)*test_", re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in files if imports.search(path.read_text("utf-8"))] == []
