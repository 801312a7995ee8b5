import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


CODES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/spillover.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", CODES, ids=range(len(CODES)))
def test_the_examples_of_the_page_run(code: str) -> None:
    exec(compile(code, "docs/spillover.md", "exec"), {})


def test_the_page_has_examples() -> None:
    assert len(CODES) >= 2
