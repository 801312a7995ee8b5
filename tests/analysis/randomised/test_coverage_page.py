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


def test_each_figure_of_a_table_stands_under_its_own_heading() -> None:
    for name, text in pages(json.loads(RESULTS.read_text())).items():
        cells = {line.count("|") for line in text.splitlines() if line.startswith("|")}
        assert len(cells) == 1, f"{name}: rows of {sorted(cells)} bars below one heading"
