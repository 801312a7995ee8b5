"""What every room's tests share: where the real data lie, the real servers, and what happens where they are missing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis import browser
from tests.parts import jars, redis_server

pytest_plugins = ["tests.parts.fixtures"]

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")

#: marker -> what is missing for the tests that bear it, or None
NEEDS: dict[str, Callable[[], str | None]] = {
    "shared_data": lambda: None if SHARED.is_dir() else "../shared/data is not there",
    "broker": lambda: jars.lacking() or redis_server.lacking(),
    "browser": browser.lacking,
    "kcat": lambda: None if shutil.which("kcat") else "no kcat on the PATH (install kcat)",
}


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave out, by name, the tests for which this machine lacks something; in CI keep them, so that they fail."""
    if IN_CI:
        return
    for marker, lacking in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        missing = lacking() if marked else None
        if missing is None:
            continue
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]
        print(f"left out {len(marked)} tests, because {missing}:")
        for item in marked:
            print(f"  {item.nodeid}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real sales and published panels; its absence is a failure where it is promised (CI)."""
    assert SHARED.is_dir(), f"{SHARED} is missing: in CI the shared data are part of the deal"
    return SHARED
