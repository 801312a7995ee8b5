import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/spillover.md").read_text("utf-8"), re.DOTALL)
    exec(compile(code, "docs/spillover.md", "exec"), {})
