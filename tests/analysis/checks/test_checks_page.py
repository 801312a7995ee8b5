"""The page of what checks can see is that of the committed figures; and what it promises holds in them."""

from collections.abc import Iterator
from typing import Any

from benchmarks.checks.check_page import PAGE, RESULTS, page, read, written


def rows(check: str) -> Iterator[dict[str, Any]]:
    return (row for row in read(RESULTS)["rows"] if row["check"] == check)


def test_the_page_is_written_from_the_committed_figures() -> None:
    assert PAGE.read_text() == page(read(RESULTS))
    assert RESULTS.read_text() == written(read(RESULTS))


def test_healthy_shops_hear_from_checks_in_at_most_one_of_twenty_runs() -> None:
    healthy = [row for row in rows("any") if row["setting"].startswith("healthy")]
    assert len(healthy) == 2 * 3 * 3 * 6
    assert max(row["speaks"] for row in healthy) <= 0.05


def test_missing_unit_days_and_lost_pieces_are_seen() -> None:
    seen = {"5 % of cells missing": 1.0, "20 % of cells missing, stores out": 0.9, "5 % of pieces lost": 0.8}
    for row in rows("any"):
        if row["units"] == 100 and row["setting"] in seen:
            assert row["speaks"] >= seen[row["setting"]], row


def test_shelves_that_an_arm_empties_are_seen() -> None:
    for row in rows("stock-outs"):
        if row["setting"].startswith("10 % of cells sold out"):
            assert row["speaks"] >= 0.9, row
