"""The analyst's tables from a running installation: what is kept as it is published, and what is exported later."""

from pathlib import Path

import pytest

from analysis import read_estimates
from analysis.export.folder import read, write
from analysis.export.tables import tables_of
from analysis.report.page import page
from flipside.results.outcome import read_topics
from tests.e2e.running import Servers, market, plan, replay

pytestmark = pytest.mark.broker

FINDINGS = ("estimates", "sequences", "health")


async def test_what_the_analysis_keeps_is_what_an_export_of_its_topics_writes(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    kept, later = tmp_path / "kept", tmp_path / "later"
    settings = servers.settings(namespace, export_folder=str(kept))
    history = market()
    result = await replay(settings, plan(history))
    counts: list[int] = []
    tables = tables_of(await read_topics(settings, on_read=counts.append), result.truth)
    write(tables, later)
    for name in FINDINGS:
        rows = read(name, kept).to_pylist()
        if name == "sequences":
            # What is kept also tells why there was no look on the first days; the topic has the last word only.
            assert all(row["reason_absent"] for row in rows if row["block"] is None)
            rows = [row for row in rows if row["block"] is not None]
        exported = read(name, later).to_pylist()
        if name == "sequences":
            # A look was kept with the watermark at which it was first told; the topic's last record has its own.
            for row in (*rows, *exported):
                del row["watermark"], row["offsets"]
        assert sorted(map(str, rows)) == sorted(map(str, exported)), name
    last = max((r for r in read_estimates(kept).to_pylist() if r["metric"] == "units"), key=lambda r: r["day"])
    assert last["relative"] == result.estimate
    panel = read("panel", later)
    assert panel.num_rows == history.rows
    assert sum(counts) >= 2 * history.rows
    assert "Units sold" in page(tables, result.experiment)
