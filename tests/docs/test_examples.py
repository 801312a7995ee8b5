"""The examples are what the code writes, and what the code accepts."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

from controller.messages.codec import read
from controller.messages.inputs import CatalogEntry
from controller.validation.registration import register
from flipside.documents import read_experiment
from flipside.sales_history.history import read_history
from flipside.schemas import ROOT
from flipside.simulated_shop.sample import BRANDS, STORES, WEEKS, write_examples

EXAMPLES = ROOT / "examples"
MOST_BYTES = 300_000


def test_the_sales_are_those_that_would_be_written_now(tmp_path: Path) -> None:
    write_examples(tmp_path)
    for name in ("sales/brands.csv", "catalog.jsonl"):
        assert (EXAMPLES / name).read_bytes() == (tmp_path / name).read_bytes(), f"{name} differs: run `make examples`"
    # The archives may differ by the machine's zlib; what is in them may not.
    here, anew = (gzip.decompress((folder / "sales" / "sales.csv.gz").read_bytes()) for folder in (EXAMPLES, tmp_path))
    assert here == anew, "sales.csv.gz differs: run `make examples`"


def test_the_sales_are_small_and_complete() -> None:
    assert sum(path.stat().st_size for path in (EXAMPLES / "sales").iterdir()) < MOST_BYTES
    history = read_history(EXAMPLES / "sales")
    assert (len(history.catalog), len(history.periods)) == (STORES * BRANDS, WEEKS)
    assert history.rows == STORES * BRANDS * WEEKS


def test_the_definition_is_accepted_against_the_catalog_of_the_sales() -> None:
    lines = (EXAMPLES / "catalog.jsonl").read_bytes().splitlines()
    catalog = {entry.unit: entry for entry in (read(CatalogEntry, line) for line in lines)}
    assert catalog == {entry.unit: entry for entry in read_history(EXAMPLES / "sales").catalog}
    definition = read_experiment(EXAMPLES / "random_days.yaml")
    resolved = register(definition, catalog, [], datetime(2026, 1, 1, tzinfo=UTC))
    assert len(resolved.units) == STORES * BRANDS
    assert len(resolved.cluster_names()) == STORES
