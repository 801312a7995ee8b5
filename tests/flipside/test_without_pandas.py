"""A long-running process never loads pandas, though it is installed."""

import subprocess
import sys

PROGRAM = """
import sys
from flipside.without_pandas import keep_pandas_out
keep_pandas_out()
keep_pandas_out()
import pyarrow as pa
import pyarrow.dataset
assert pa.array([1, 2]).to_pylist() == [1, 2]
assert "pandas" not in sys.modules
assert sum(type(finder).__name__ == "_WithoutPandas" for finder in sys.meta_path) == 1
"""

HELP = "import sys, flipside.cli; assert not {'numba', 'pandas', 'sklearn'} & set(sys.modules)"


def test_pyarrow_works_and_pandas_is_not_loaded() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_help_loads_neither_numba_nor_pandas_nor_scikit_learn() -> None:
    subprocess.run([sys.executable, "-c", HELP], check=True)
