"""The current row of each series in a table."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.export.schemas import TABLES


def standing(table: pa.Table, name: str) -> pa.Table:
    """Of rows that differ in nothing but their revision, the one with the highest."""
    key = ["experiment", "version", "day", *(column for column in TABLES[name].key if column != "revision")]
    order = pc.sort_indices(table, [("revision", "ascending")]).to_pylist() if table.num_rows else []
    rows = list(zip(*(table[column].to_pylist() for column in key), strict=True))
    last = {rows[k]: k for k in order}
    return table.take(sorted(last.values()))


def latest_of_series(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of the newest version, day and revision of each experiment, metric and arm."""
    rows = sorted(table.to_pylist(), key=lambda r: (r["version"], r["day"], r["revision"]))
    newest = {(r["experiment"], r["metric"], r["arm"]): (r["version"], r["day"], r["revision"]) for r in rows}
    return [
        r for r in rows
        if newest[r["experiment"], r["metric"], r["arm"]] == (r["version"], r["day"], r["revision"])
    ]  # fmt: skip


def latest_estimates(estimates: pa.Table) -> list[dict[str, Any]]:
    """The current row of each experiment, metric, arm and estimator: newest version, last day, highest revision."""
    rows = sorted(estimates.to_pylist(), key=lambda r: (r["version"], r["day"], r["revision"]))
    return list({(r["experiment"], r["metric"], r["arm"], r["estimator"]): r for r in rows}.values())
