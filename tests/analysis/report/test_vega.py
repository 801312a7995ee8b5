"""Vega is bundled once for all pages: what was kept is used, what is broken is made anew; no page needs the folder."""

from pathlib import Path

import vl_convert

from analysis.report.vega import EMBED, bundled, place


def test_a_script_that_is_not_whole_is_made_anew_and_the_next_page_takes_what_was_kept(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    made = vl_convert.javascript_bundle(EMBED)
    with bundled(folder) as vega:
        assert vega() == made
    kept = place(folder)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    with bundled(folder) as vega:
        assert vega() == made
    assert kept.read_bytes() == whole
    assert [path.name for path in folder.iterdir()] == [kept.name]
    # nothing is bundled now: what comes is what stands there
    before = kept.stat().st_mtime_ns
    with bundled(folder) as vega:
        assert vega() == made
    assert kept.stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_written_to_costs_time_and_no_page(tmp_path: Path) -> None:
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file")
    with bundled(in_the_way / "flipside") as vega:
        assert len(vega()) > 500_000
    assert in_the_way.read_text() == "a file"


def test_a_page_that_comes_to_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    with bundled(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
