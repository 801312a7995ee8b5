"""The pages of coverage are what would be written from the committed figures."""

import json

from benchmarks.randomised.coverage import DOCS, RESULTS
from benchmarks.randomised.coverage_page import pages


def test_the_pages_of_coverage_are_those_of_the_committed_figures() -> None:
    written = pages(json.loads(RESULTS.read_text()))
    for name, text in written.items():
        assert (DOCS / name).read_text() == text, (
            f"docs/{name} differs: run `python -m benchmarks.randomised.coverage --page`"
        )
    assert {f"coverage/{path.name}" for path in (DOCS / "coverage").iterdir()} == set(written) - {"coverage.md"}
