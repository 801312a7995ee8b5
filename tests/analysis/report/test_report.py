"""The report: one small file that opens without a network, says nothing on the console, and can be read."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.export.folder import write
from analysis.export.schemas import Tables
from analysis.export.tables import tables_of
from analysis.report.page import NothingToReport, page
from tests.analysis.browser import see
from tests.analysis.outcomes import TRUTH, large, messages_of, outcome
from tests.analysis.traffic import experiment

MOST_BYTES = 3_000_000
PROBE = (Path(__file__).parent / "probe.js").read_text()


@pytest.fixture(scope="module")
def small() -> str:
    return page(outcome(), "test")


def opened(text: str, folder: Path, width: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the probe finds on a page of so many pixels, and what the console says."""
    path = folder / "report.html"
    body, end, rest = text.rpartition("</body>")
    path.write_text(f"{body}<script>{PROBE}</script>{end}{rest}")
    seen = see(path, folder / "profile", width)
    found = re.search(r'data-found="([^"]*)"', seen.dom)
    assert found, f"the pictures were not drawn; the console says {seen.console}"
    return json.loads(html.unescape(found[1])), seen.console


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 500])
def test_it_opens_without_a_network_or_a_word_on_the_console_and_can_be_read(
    small: str, tmp_path: Path, width: int
) -> None:
    found, console = opened(small, tmp_path, width)
    assert console == ()
    assert found["pictures"].keys() == {"arms", "checks", "effect-low-units", "effect-low-revenue", "effect-low-margin"}
    assert found["pale"] in (1, 2), "two days of one cluster do not count"
    assert not found["wide"], "the page is wider than its window"
    assert (found["small"], found["outside"], found["overlapping"]) == ([], [], [])


@pytest.mark.browser
def test_one_of_the_size_of_the_orange_juice_replay_is_small_and_can_be_read(tmp_path: Path) -> None:
    text = page(large(), "large")
    assert len(text.encode()) < MOST_BYTES
    found, console = opened(text, tmp_path, 1200)
    assert console == ()
    assert (found["small"], found["outside"], found["overlapping"]) == ([], [], [])
    assert all(width > 500 and height > 200 for width, height in found["pictures"].values())


def test_nothing_in_it_is_fetched(small: str) -> None:
    assert len(small.encode()) < MOST_BYTES
    before, _, rest = small.partition('<script type="module">')
    after = rest.rpartition("</script>")[2]
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", before + after)
    assert "default-src 'none'" in before


def test_every_picture_of_an_analyst_is_told_in_words_too(small: str) -> None:
    text = html.unescape(re.sub(r"<script.*?</script>", "", small, flags=re.S))
    for said in (
        "Planted effect on units sold: −10.0 %",
        "left out of 168 cluster-days: 2 by blackout",
        "Broken: fidelity",
    ):
        assert said in text
    assert "No always-valid interval: at most 2 clusters in an arm" in text
    assert "design hash" in text


def test_what_is_not_there_is_said_and_not_drawn() -> None:
    definition = experiment(12, 3, 14)
    kept = [m for m in messages_of(definition) if type(m).__name__ not in ("Health", "RunningSequence", "Estimate")]
    text = re.sub(r"<script.*?</script>", "", page(tables_of(kept), "test"), flags=re.S)
    assert "its assumptions were not looked at" in text
    assert "No effect can be given yet" in text
    assert "Planted effect" not in text


def test_an_experiment_that_is_not_there_is_refused_with_the_names_that_are() -> None:
    with pytest.raises(NothingToReport, match=r"no experiment 'tset' is registered; there is test"):
        page(outcome(), "tset")
    with pytest.raises(NothingToReport, match="no day is closed yet"):
        page({**outcome(), "panel": outcome()["panel"].slice(0, 0)}, "test")


def test_names_of_the_owner_cannot_bend_the_page() -> None:
    definition = experiment(12, 3, 14)
    said = [
        m.model_copy(update={"evidence": "</script><b>&"}) if type(m).__name__ == "Health" else m
        for m in messages_of(definition)
    ]
    text = page(tables_of(said, TRUTH), "test")
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in text


def test_a_folder_makes_the_same_page_as_the_tables(tmp_path: Path, small: str) -> None:
    from flipside.results.outcome import tables_from_folder

    made: Tables = outcome()
    write(made, tmp_path)
    tables, name = tables_from_folder(tmp_path, None)
    assert page(tables, name) == small
