"""The small shop under examples/: made up, for users without data of their own.

``python -m flipside.simulated_shop.sample`` writes it anew. A test compares what is there with what would be written.
"""

from pathlib import Path

import numpy as np

from flipside.sales_history.history import History, read_history
from flipside.simulated_shop.demand import made_up_history, write_history

STORES, BRANDS, WEEKS = 12, 6, 40
SEED = 2026


def sample() -> History:
    """The history of examples/sales: the same whenever it is drawn."""
    return made_up_history(STORES, BRANDS, WEEKS, np.random.default_rng(SEED))


def write_examples(folder: Path) -> None:
    """Write ``sales/`` and ``catalog.jsonl`` (the catalog that those sales imply, one entry a line) into a folder."""
    write_history(sample(), folder / "sales")
    catalog = read_history(folder / "sales").catalog
    (folder / "catalog.jsonl").write_text("".join(entry.model_dump_json() + "\n" for entry in catalog))


if __name__ == "__main__":
    write_examples(Path(__file__).resolve().parents[2] / "examples")
