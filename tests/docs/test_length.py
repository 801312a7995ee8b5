"""A page can be read in one sitting: how many words each may have, table bars included."""

import pytest

from flipside.schemas import ROOT
from tests.docs.blocks import pages

MOST_WORDS = 2600
#: pages with a limit of their own
LIMITS = {
    "README.md": 1250,
    "docs/on-call.md": 2100,
    "docs/performance.md": 1900,
    "docs/faults.md": 1400,
}
#: formulas are looked up and not read through
MOST_WORDS_OF_METHODS = 5000
#: history, and a reference that is written from the code
WITHOUT_LIMIT = {"CHANGELOG.md", "docs/commands.md"}


def limit(page: str) -> int:
    if page.startswith("docs/methods/"):
        return MOST_WORDS_OF_METHODS
    return LIMITS.get(page, MOST_WORDS)


@pytest.mark.parametrize("page", sorted(set(pages()) - WITHOUT_LIMIT))
def test_a_page_has_no_more_words_than_its_limit(page: str) -> None:
    words = len((ROOT / page).read_text().split())
    assert words <= limit(page), f"{page} has {words} words, at most {limit(page)}: split it, or drop what nobody needs"


def test_pages_with_a_limit_of_their_own_are_there() -> None:
    assert {*LIMITS, *WITHOUT_LIMIT} <= set(pages())
