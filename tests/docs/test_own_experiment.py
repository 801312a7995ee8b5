"""docs/your-own-experiment.md followed with somebody else's files: the page shows every option that is needed."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from flipside.schemas import ROOT
from streams.runtime.clock import WallClock
from tests.docs.blocks import Block, blocks, run
from tests.docs.conftest import Installation
from tests.docs.strange_shop import OPTIONS, write_strange_shop

PAGE = "docs/your-own-experiment.md"
#: what the sample alone needs: its files, and the lines that make semicolons of its commas
SAMPLE_ALONE = ("flipside sample", "sed 's/,/;/g")
READS_SALES = ("flipside power", "flipside advise", "flipside replay")


def steps() -> list[str]:
    """The page's commands, with the files of a strange shop and the options that the page shows for those."""
    found = []
    for block in blocks(PAGE):
        for script, _ in block.commands():
            lines = [line for line in script.splitlines() if not line.startswith(SAMPLE_ALONE)]
            command = "\n".join(lines).replace("shop/sales.csv", "shop/bons.csv")
            if command.startswith(READS_SALES) and "Filiale" not in command:
                command += f" {OPTIONS}"
            if command:
                found.append(command)
    return found


def test_every_option_that_the_strange_shop_needs_is_shown_on_the_page() -> None:
    text = (ROOT / PAGE).read_text()
    assert set(re.findall(r"--[a-z]+", OPTIONS)) <= set(re.findall(r"--[a-z]+", text))


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(600)
def test_the_page_leads_from_receipts_in_three_currencies_to_a_submitted_experiment(
    tmp_path: Path, bare: Mapping[str, str], installation: Installation
) -> None:
    write_strange_shop(tmp_path / "shop", WallClock().now().date())
    done = [
        run([Block(PAGE, 0, "sh", "parts", step)], tmp_path, installation.environment, installation.addresses)
        for step in steps()
    ]
    said = "\n".join(text for several in done for _, text in several)
    assert "units in other currencies than EUR are left out" in said
    assert "separated by semicolon, decimal comma, dates DD.MM.YYYY" in said
    assert "reverted by the guardrail on units" in said
    assert "kaffee version 1 is registered" in said
    advised = (tmp_path / "shop" / "advised.yaml").read_text()
    assert "currency: EUR" in advised
    assert "Bern" not in advised
