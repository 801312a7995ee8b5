"""The page of hostile input: its figures are those of the committed files, and the tests that it names exist."""

import json
import re
from typing import Any

from flipside.schemas import ROOT

PAGE = (ROOT / "docs" / "hostile-input.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def committed(name: str) -> dict[str, Any]:
    found = json.loads((RESULTS / name).read_text())
    assert isinstance(found, dict)
    return found


def test_each_of_the_twenty_two_ways_has_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 23))
    for number, named in rows:
        tests = re.findall(r"`([^`]+)::(\w+)`", named)
        assert tests or re.match(r"as \d", named), f"{number}: no test"
        for path, begin in tests:
            assert re.search(rf"^(async )?def {begin}", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{begin}"


def test_the_matrix_on_the_page_is_the_committed_one() -> None:
    found = committed("hostile_records.json")
    for name, piece in found["pieces"].items():
        row = (
            f"| {name} | {piece['cells']:,} | {piece['flips']} | {piece['slowest_flip_seconds']} s | "
            f"{piece['slowest_kill_seconds']} s | {len(piece['failures'])} |"
        )
        assert row in PAGE, row
    assert f"| all | {found['cells']:,} | {found['flips']} |" in PAGE
    assert sum(piece["cells"] for piece in found["pieces"].values()) == found["cells"]


def test_the_floods_on_the_page_are_the_committed_ones() -> None:
    for flood in committed("floods.json").values():
        whole, later = flood["bytes_a_record"], flood["bytes_a_record_second_half"]
        figures = [str(round(of[part])) for part in ("worker", "analysis", "redis") for of in (whole, later)]
        row = f"| {flood['records']:,} | {flood['hours_of_it']:g} | {' | '.join(figures)} |"
        assert row in PAGE, row
