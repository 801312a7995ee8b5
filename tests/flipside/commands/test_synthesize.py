"""``flipside synthesize`` writes a table that the other commands read."""

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from flipside.cli import app
from flipside.sales_history.history import read_history
from flipside.sales_history.own_sales import read_own
from flipside.schemas import ROOT

run = CliRunner().invoke
SALES = ROOT / "examples" / "sales"


def test_what_is_written_has_the_units_and_weeks_of_the_source_and_none_of_its_rows(tmp_path: Path) -> None:
    result = run(app, ["synthesize", str(SALES), "--out", str(tmp_path / "copy"), "--json"])
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout.splitlines()[-1])
    assert len(json.loads((tmp_path / "copy" / "moments.json").read_text())) == len(shown["moments"])
    source, copy = read_history(SALES), read_own(tmp_path / "copy")
    assert set(copy.periods.units) == {entry.unit for entry in source.catalog}
    assert copy.periods.quantity.shape[0] == len(source.periods)
    assert copy.periods.period_days == 7
    column = {unit: k for k, unit in enumerate(copy.periods.units)}
    same = [copy.periods.quantity[t, column[one.unit]] == one.packs for t, w in enumerate(source.periods) for one in w]
    # by chance, of numbers around forty
    assert np.mean(same) < 0.1


def test_an_owners_table_comes_back_with_its_days(tmp_path: Path) -> None:
    assert run(app, ["sample", str(tmp_path / "shop")]).exit_code == 0
    result = run(app, ["synthesize", str(tmp_path / "shop" / "sales.csv"), "--out", str(tmp_path / "copy")])
    assert result.exit_code == 0, result.stderr
    assert "weekdays" in result.stdout
    source, copy = (read_own(tmp_path / name / "sales.csv") for name in ("shop", "copy"))
    assert copy.periods.days == source.periods.days
    assert copy.periods.units == source.periods.units


def test_a_table_without_quantities_and_a_folder_of_sales_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "panel.csv"
    table.write_text("unit,time,outcome\na/b,2025-01-01,3\n")
    assert "needs columns for store, product" in str(run(app, ["synthesize", str(table), "--out", "x"]).exception)
    copied = tmp_path / "sales"
    copied.mkdir()
    (copied / "brands.csv").write_text("brand,ounces_per_pack\n")
    refused = run(app, ["synthesize", str(SALES), "--out", str(copied)])
    assert "name another folder" in str(refused.exception)
