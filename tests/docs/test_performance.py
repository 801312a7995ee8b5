"""docs/performance.md has the committed figures, and leaves no benchmark out."""

import re

from benchmarks.report.performance_page import BENCHMARKS, PAGE, committed, with_figures
from flipside.schemas import ROOT
from tests.docs.blocks import pages


def test_the_figures_are_those_that_the_benchmarks_left() -> None:
    document = PAGE.read_text()
    assert document == with_figures(document, committed()), "run `python -m benchmarks.report.performance_page`"
    assert set(re.findall(r"<!-- figures: ([\w-]+) -->", document)) == set(committed()) == set(BENCHMARKS)


def test_every_file_of_figures_names_its_machine_its_date_and_its_command() -> None:
    for name, kept in committed().items():
        assert kept["command"].startswith("python -m benchmarks."), name
        assert kept["rows"]
        assert re.match(r"\d{4}-\d{2}-\d{2}", kept["machine"]["date"]), name
        assert kept["figures"] is not None or "note" in kept, f"{name}: where do these figures come from?"


def test_every_benchmark_is_named_on_a_page() -> None:
    runnable = {p.stem for p in (ROOT / "benchmarks").rglob("*.py") if "__main__" in p.read_text()}
    named = set(re.findall(r"\b\w+\b", PAGE.read_text()))
    # Peers are run by the benchmark that compares with them; these two are this page itself and a run of all pieces.
    left_out = {"panel_peers", "low_rank_peers", "performance_page", "streams"}
    assert runnable - left_out <= named, f"{PAGE.name} does not name {runnable - left_out - named}"
    assert PAGE.relative_to(ROOT).as_posix() in pages()
