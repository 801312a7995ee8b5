"""Every command of README and docs does what the page says."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from flipside.schemas import ROOT
from tests.docs.blocks import NOT_RUN, SET_UP, TESTED_ELSEWHERE, Block, as_pattern, blocks, pages, run, set_up
from tests.docs.conftest import Installation


def of_kind(needs: str) -> list[str]:
    """Pages with blocks of a kind that are run here."""
    return [p for p in pages() if p not in TESTED_ELSEWHERE and any(b.needs == needs for b in blocks(p))]


def wanted(page: str, needs: str) -> list[Block]:
    return [block for block in blocks(page) if block.needs == needs]


@pytest.mark.parametrize("page", of_kind("here"))
def test_commands_that_need_nothing_do_what_the_page_says(page: str, checkout: Path, bare: Mapping[str, str]) -> None:
    assert run(wanted(page, "here"), checkout, bare, {})


@pytest.mark.broker
@pytest.mark.parametrize("page", of_kind("parts"))
def test_commands_on_a_running_flipside_do_what_the_page_says(
    page: str, checkout: Path, installation: Installation
) -> None:
    commands = [*set_up(page), *wanted(page, "parts")]
    assert run(commands, checkout, installation.environment, installation.addresses)


@pytest.mark.parametrize(
    "page",
    # What a newcomer sees first is looked at every time.
    [page if page == "README.md" else pytest.param(page, marks=pytest.mark.slow) for page in of_kind("slow")],
)
def test_long_commands_do_what_the_page_says(page: str, checkout: Path, bare: Mapping[str, str]) -> None:
    # With the short ones, because they lead up to them.
    assert run([block for block in blocks(page) if block.needs != "parts"], checkout, bare, {})


def test_the_lines_below_the_table_of_the_readme_follow_from_it() -> None:
    text = (ROOT / "README.md").read_text()

    def number(pattern: str) -> int:
        (found,) = re.findall(pattern, text)
        return int(found.replace(",", ""))

    of, used, sent = (
        number(r"of the ([\d,]+) unit-days"),
        number(r"unit-days used +│ ([\d,]+)"),
        number(r"counted +│ ([\d,]+)"),
    )
    ((stores, days, products),) = re.findall(r"\((\d+) stores, (\d+) days, (\d+) products\)", text)
    excluded = number(r"All ([\d,]+) unit-days of the blackout")
    assert of == number(r"shop of (\d+) stores") * number(r"stores and (\d+) products") * number(
        r"products for (\d+) days"
    )
    assert of - used == excluded == int(stores) * int(days) * int(products)
    assert of - sent == number(r"On (\d+) of the [\d,]+ unit-days nothing")
    assert number(r"kept by blackouts +│ [\d,]+, (\d+)") == number(r"On (\d+) of them")


def test_every_block_is_of_a_kind_that_is_run() -> None:
    kinds = {block.needs for page in pages() for block in blocks(page)}
    assert kinds <= {"here", "parts", "slow"}


def test_what_is_not_run_stands_on_a_page_and_has_its_reason() -> None:
    lines = {line.strip().removeprefix("$ ") for page in pages() for b in blocks(page) for line in b.text.splitlines()}
    assert set(NOT_RUN) <= lines
    assert all(NOT_RUN.values())
    assert set(TESTED_ELSEWHERE) <= set(pages())
    assert set(SET_UP) <= set(of_kind("parts"))


def test_an_output_that_differs_from_the_page_is_seen(checkout: Path, bare: Mapping[str, str]) -> None:
    block = Block("a page", 1, "console", "here", "$ printf 'one\\ntwo\\n'\none\nthree\n")
    with pytest.raises(AssertionError, match="the page says"):
        run([block], checkout, bare, {})
    failing = Block("a page", 1, "sh", "here", "false | true\n")
    with pytest.raises(AssertionError, match="ended with 1"):
        run([failing], checkout, bare, {})
    assert as_pattern("a...b\n...\nc\n") == "a.*b[ ]*\\n(?:.*\\n)*c[ ]*\\n"
