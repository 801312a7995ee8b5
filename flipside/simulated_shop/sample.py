"""Made-up shops, for users without data of their own.

``python -m flipside.simulated_shop.sample`` writes the one under examples/ anew. A test compares what is there with
what would be written. ``flipside sample DIR`` writes a small shop of days: sales, catalog, blackouts, definition.
"""

import csv
import io
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from controller.time.periods import day_start
from flipside.sales_history.history import History, read_history
from flipside.simulated_shop.demand import made_up_history, write_history

STORES, BRANDS, WEEKS = 12, 6, 40
SEED = 2026
#: the small shop: half a year of days, up to the day before its experiment
SHOP_STORES, SHOP_PRODUCTS, SHOP_DAYS = 12, 8, 182
SHOP_ZONE, SHOP_CURRENCY = "Europe/Berlin", "EUR"
SHOP_FILES = ("sales.csv", "catalog.jsonl", "blackouts.jsonl", "definition.yaml")
CATEGORIES = ("coffee", "tea")

DEFINITION = """\
# Does 5 % more cost more than it brings? Each day a random half of the stores shows the higher price.
name: coffee-and-tea
owner: you
currency: EUR
select:
  categories: [coffee, tea]
clusters: market
arms:
  - name: control
  - name: higher
    price: {{percent: 5}}
design: {{kind: random_days}}
start: {start}
days: 28
seed: choose-your-own
limits: {{max_off_list_percent: 10}}
guardrails:
  - {{metric: units, tolerance: 10, on_breach: revert}}
"""


def sample() -> History:
    """The history of examples/sales: the same whenever it is drawn."""
    return made_up_history(STORES, BRANDS, WEEKS, np.random.default_rng(SEED))


def write_examples(folder: Path) -> None:
    """Write ``sales/`` and ``catalog.jsonl`` (the catalog that those sales imply, one entry a line) into a folder."""
    write_history(sample(), folder / "sales")
    catalog = read_history(folder / "sales").catalog
    (folder / "catalog.jsonl").write_text("".join(entry.model_dump_json() + "\n" for entry in catalog))


def write_shop(folder: Path, start: date) -> tuple[Path, ...]:
    """Write the four files of a small shop whose experiment starts on ``start``; its sales end a fortnight before."""
    history = made_up_history(SHOP_STORES, SHOP_PRODUCTS, SHOP_DAYS, np.random.default_rng(SEED))
    text = io.StringIO()
    sales = csv.writer(text, lineterminator="\n")
    sales.writerow(["store", "product", "date", "quantity", "price"])
    for number, rows in enumerate(history.periods):
        day = start - timedelta(days=14 + SHOP_DAYS - number)
        for row in rows:
            store, _, product = row.unit.partition("/")
            if row.packs:
                sales.writerow([store, product, day, row.packs, f"{row.price_minor / 100:.2f}"])
    catalog = [
        entry.model_copy(
            update={
                "time_zone": SHOP_ZONE,
                "currency": SHOP_CURRENCY,
                "category": CATEGORIES[number % SHOP_PRODUCTS * len(CATEGORIES) // SHOP_PRODUCTS],
            }
        )
        for number, entry in enumerate(history.catalog)
    ]
    first = start + timedelta(days=14)
    window = (
        '{"id": "stocktaking", "scope": {"kind": "market", "name": "store-3"},'
        f' "starts_at": "{day_start(first, SHOP_ZONE).isoformat()}",'
        f' "ends_at": "{day_start(first + timedelta(days=2), SHOP_ZONE).isoformat()}",'
        ' "reason": "stocktaking"}\n'
    )
    files = {
        "sales.csv": text.getvalue(),
        "catalog.jsonl": "".join(entry.model_dump_json(exclude_defaults=True) + "\n" for entry in catalog),
        "blackouts.jsonl": window,
        "definition.yaml": DEFINITION.format(start=start),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return tuple(folder / name for name in files)


if __name__ == "__main__":
    write_examples(Path(__file__).resolve().parents[2] / "examples")
