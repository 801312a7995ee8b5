"""The files that take longest are begun first, so that no process is left alone with a long one at the end.

``make test ARGS=--junitxml=FILE`` and ``python -m tests.parts.durations FILE`` write `MEASURED` anew. It only orders:
a file that it does not know is begun last, one that is gone is passed over.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "tests" / "durations.json"


def seconds_by_file(report: Path) -> dict[str, int]:
    """File -> whole seconds of its tests in a JUnit report, longest first; those below one second are left out."""
    total: defaultdict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).iter("testcase"):
        parts = case.attrib["classname"].split(".")
        file = next(
            (path for n in range(len(parts), 0, -1) if (ROOT / (path := "/".join(parts[:n]) + ".py")).is_file()), None
        )
        if file is not None:
            total[file] += float(case.attrib["time"])
    whole = {file: round(total[file]) for file in sorted(total) if total[file] >= 1}
    return dict(sorted(whole.items(), key=lambda entry: -entry[1]))


def longest_first(files: list[str], measured: dict[str, int]) -> list[int]:
    """Places of these files, those of the longest file first; the order inside a file stays."""
    return sorted(range(len(files)), key=lambda place: -measured.get(files[place], 0))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """In each of several processes (pytest-xdist); one process alone keeps the order of the folders."""
    if hasattr(config, "workerinput"):
        files = [item.path.relative_to(ROOT).as_posix() for item in items]
        items[:] = [items[place] for place in longest_first(files, json.loads(MEASURED.read_text()))]


if __name__ == "__main__":
    MEASURED.write_text(json.dumps(seconds_by_file(Path(sys.argv[1])), indent=0) + "\n")
