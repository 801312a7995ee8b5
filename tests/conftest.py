"""What every room's tests share: where the real data lie, and what happens when they do not."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Leave out, by name, the tests whose data a user's machine does not have; in CI keep them, so that they fail."""
    if SHARED.is_dir() or IN_CI:
        return
    left_out = [item for item in items if item.get_closest_marker("shared_data")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        print("left out, because ../shared/data is not there:")
        for item in left_out:
            print(f"  {item.nodeid}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real sales and published panels; its absence is a failure where it is promised (CI)."""
    assert SHARED.is_dir(), f"{SHARED} is missing: in CI the shared data are part of the deal"
    return SHARED
