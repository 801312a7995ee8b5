"""A replay in which one category responds more than the other: report, export and JSON show both, the truth inside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.export.folder import read
from flipside.results.outcome import write_outcome
from flipside.sales_history.history import History
from flipside.simulated_shop.demand import made_up_history
from tests.e2e.running import Servers, flipside, plan, replay

pytestmark = pytest.mark.broker

TRUTHS = {"category = juice": -0.1, "category = toys": -0.4}


def shop() -> History:
    """Twelve stores with four products for three weeks; every second product is a toy."""
    history = made_up_history(12, 4, 21, np.random.default_rng(1))
    catalog = [
        entry.model_copy(update={"category": "toys"}) if int(entry.unit[-1]) % 2 else entry for entry in history.catalog
    ]
    return replace(history, catalog=tuple(catalog))


async def test_report_export_and_json_show_both_categories_with_the_truth_inside(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    planted = plan(shop(), -0.1, effects_by_category={"toys": -0.4})
    result = await replay(servers.settings(namespace), planted)
    assert (result.broken_promises, result.ended) == ((), None)
    assert -0.4 < result.truth < -0.1
    page = write_outcome(result, tmp_path / "outcome").read_text()
    assert "Who responds" in page
    assert "Which clusters carry it" in page
    exported = [row for row in read("responses", tmp_path / "outcome").to_pylist() if row["metric"] == "units"]
    inside(exported)

    said = await flipside(
        "report", "--replay", str(tmp_path / "outcome"), "--out", str(tmp_path / "again.html"), "--json"
    )
    assert said.code == 0, said.err
    shown = json.loads(said.out.splitlines()[-1])["who_responds"]
    units = next(one for one in shown if one["metric"] == "units")
    assert units["label"] == "fixed-horizon"
    inside(units["responses"])
    assert len(units["influence"]) == 10


def inside(rows: list[dict[str, Any]]) -> None:
    levels = {row["name"]: row for row in rows if row["part"] == "level"}
    for name, truth in TRUTHS.items():
        assert levels[name]["low"] <= truth <= levels[name]["high"]
        assert name in str(levels[name])
    named = [row for row in rows if row["named"]]
    assert named
    for row in named:
        assert row["low"] <= TRUTHS[row["name"]] <= row["high"]
