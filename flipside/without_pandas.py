"""Processes that must stay small do without pandas: the one place that keeps it out, for all of them.

Where pandas is installed, pyarrow loads it (45 MB) only to ask whether a list is a Series. The demo, a worker and the
analysis never hand over a frame, so for them it is as if it were not installed. The commands that take frames do not
call this.
"""

import sys
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("this process does without pandas", name=fullname)


def keep_pandas_out() -> None:
    """From here on, importing pandas fails in this process as where it is not installed."""
    if not any(isinstance(finder, _WithoutPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithoutPandas())
