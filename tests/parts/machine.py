"""What a machine lacks: the tests that need it are left out by name, each with the one line that installs it.

In CI nothing is left out: there a test fails for which something is missing.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.analysis import browser
from tests.parts import jars, redis_server

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")
#: where the tests that were left out are kept between collection and the end of the run
LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()


@dataclass(frozen=True, slots=True)
class Need:
    """What the tests with a marker need; ``lacking`` gives what is missing here, None where nothing is."""

    lacking: Callable[[], str | None]
    #: the one line, on Debian and what descends from it
    install: str


def program(name: str) -> Callable[[], str | None]:
    """A need for a program on the PATH."""
    return lambda: None if shutil.which(name) else f"there is no {name} on the PATH"


#: marker -> what its tests need
NEEDS = {
    "broker": Need(jars.lacking, "apt-get install default-jre-headless maven && make broker"),
    "redis7": Need(redis_server.older_than_7, "apt-get install redis-server"),
    "jdk": Need(program("javac"), "apt-get install default-jdk-headless"),
    "kcat": Need(program("kcat"), "apt-get install kcat"),
    "openssl": Need(program("openssl"), "apt-get install openssl"),
    "docker_compose": Need(program("docker-compose"), "apt-get install docker-compose"),
    "browser": Need(browser.lacking, "apt-get install chromium"),
    "shared_data": Need(
        lambda: None if SHARED.is_dir() else "the folder ../shared/data is not there",
        "none: real sales and published panels, which this repository may not contain",
    ),
}


def missing(markers: Iterable[str]) -> dict[str, str]:
    """Marker -> "what is missing (how to install it)", for those markers whose need this machine does not meet."""
    found = {marker: NEEDS[marker].lacking() for marker in NEEDS if marker in set(markers)}
    return {marker: f"{what}; to install: {NEEDS[marker].install}" for marker, what in found.items() if what}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave out the tests for which this machine lacks something, of those that were asked for."""
    config.stash[LEFT_OUT] = {}
    if IN_CI:
        return
    reasons = missing({mark.name for item in items for mark in item.iter_markers()})
    kept: list[pytest.Item] = []
    for item in items:
        reason = next((reasons[mark] for mark in NEEDS if mark in reasons and item.get_closest_marker(mark)), None)
        if reason is None:
            kept.append(item)
        else:
            config.stash[LEFT_OUT].setdefault(reason, []).append(item.nodeid)
    if len(kept) < len(items):
        staying = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in staying])
        items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes that share the tests out (pytest-xdist): hand the names to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each of them has collected all tests, and says the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The names, at the end of the run, where they are read."""
    for reason, names in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.section(f"left out {len(names)} tests")
        terminalreporter.line(reason)
        for name in names:
            terminalreporter.line(f"  {name}")
