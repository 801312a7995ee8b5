"""The analyst's tables: what is in them, and what a folder of Parquet keeps."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import read_estimates, read_panel
from analysis.export.folder import UnreadableExport, experiments, read, write
from analysis.export.schemas import TABLES, Tables
from analysis.export.tables import tables_of
from controller.errors import FlipsideError
from controller.messages.events import Estimate, UnitDay
from tests.analysis.outcomes import TRUTH, messages_of, outcome
from tests.analysis.traffic import START, experiment, unit_day

DEFINITION = experiment(markets=12, products=3, days=14)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(messages_of(DEFINITION), TRUTH)


def test_every_table_has_the_columns_of_the_contract(tables: Tables) -> None:
    assert tables.keys() == TABLES.keys()
    for name, table in tables.items():
        assert table.schema.equals(TABLES[name].schema), name
        # rows of `spillover` need a graph (tests/flipside/commands/test_spillover.py), of `responses` attributes
        assert table.num_rows or name in ("spillover", "responses"), name


def test_the_panel_adds_up_to_what_was_sold_and_says_what_is_left_out(tables: Tables) -> None:
    panel = tables["panel"]
    rows = [message for message in messages_of(DEFINITION) if isinstance(message, UnitDay)]
    assert panel.num_rows == len(rows) == 12 * 3 * 14
    assert sum(panel["quantity"].to_pylist()) == sum(row.quantity for row in rows)
    left = {r["values"]: r["counts"] for r in panel["status"].value_counts().to_pylist()}
    assert left == {"counted": 12 * 3 * 14 - 6, "blackout": 6}
    last = tables["estimates"].to_pylist()[-1]
    assert (last["cells"], dict(last["left_out"])) == (left["counted"], {"blackout": 6})


def test_missing_is_null_and_never_zero() -> None:
    said = [m for m in messages_of(DEFINITION) if not (isinstance(m, UnitDay) and m.unit == "m00/p0")]
    said = [m.model_copy(update={"unit_days": 2, "events": 2}) if hasattr(m, "unit_days") else m for m in said]
    rows = [r for r in tables_of(said)["panel"].to_pylist() if r["unit"] == "m00/p0"]
    assert {(r["status"], r["quantity"], r["revenue_minor"], r["cost_minor"]) for r in rows} == {
        ("unobserved", None, None, None)
    }


def test_a_cost_that_is_not_known_is_null() -> None:
    said = [*messages_of(DEFINITION), unit_day(DEFINITION, "m00/p0", START, 9, revision=1, cost=False)]
    row = next(r for r in tables_of(said)["panel"].to_pylist() if (r["unit"], r["day"]) == ("m00/p0", START))
    assert (row["quantity"], row["cost_minor"]) == (9, None)


def test_what_is_written_is_read_again_by_experiment_and_day(tables: Tables, tmp_path: Path) -> None:
    write(tables, tmp_path)
    for name, table in tables.items():
        again = read(name, tmp_path, "test")
        assert again.schema.equals(table.schema)
        assert sorted(map(str, again.to_pylist())) == sorted(map(str, table.to_pylist())), name
    assert (tmp_path / "panel" / "experiment=test" / f"day={START}" / "v1.parquet").is_file()
    assert experiments(tmp_path) == ["test"]
    assert read_panel(tmp_path).num_rows == tables["panel"].num_rows


def test_pandas_reads_the_folder_without_us(tables: Tables, tmp_path: Path) -> None:
    write(tables, tmp_path)
    frame = pq.read_table(tmp_path / "panel").to_pandas()
    assert len(frame) == tables["panel"].num_rows
    assert {"experiment", "day", "unit", "arm"} <= set(frame.columns)


def test_writing_again_changes_nothing(tables: Tables, tmp_path: Path) -> None:
    write(tables, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    write(tables, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_a_revision_stands_beside_the_number_that_it_revises(tables: Tables, tmp_path: Path) -> None:
    last = [m for m in messages_of(DEFINITION) if isinstance(m, Estimate)][-1]
    revised = last.model_copy(update={"revision": 1, "cells": 1})
    write(tables, tmp_path)
    # Kafka has compacted all the others away.
    write(tables_of([revised]), tmp_path)
    everything = read_estimates(tmp_path, history=True)
    assert everything.num_rows == tables["estimates"].num_rows + 1
    quoted = read_estimates(tmp_path, "test")
    assert quoted.num_rows == tables["estimates"].num_rows
    row = next(
        r for r in quoted.to_pylist() if (r["day"], r["metric"], r["arm"]) == (last.through, last.metric, last.arm)
    )
    assert (row["revision"], row["cells"]) == (1, 1)


def test_a_run_written_anew_leaves_nothing_of_the_one_before(tables: Tables, tmp_path: Path) -> None:
    write(tables, tmp_path)
    shorter = outcome(days=7)
    write(shorter, tmp_path, anew=True)
    assert read("panel", tmp_path).num_rows == shorter["panel"].num_rows
    assert max(read("panel", tmp_path)["day"].to_pylist()) == START + timedelta(6)


def test_a_folder_that_is_none_is_refused_with_the_way_out(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(UnreadableExport, match=r"is not there; write one with `flipside export --out`"):
        read("panel", tmp_path / "nowhere")
    with pytest.raises(UnreadableExport, match="holds none of its tables; write one"):
        read("panel", tmp_path)
    write(tables, tmp_path)
    with pytest.raises(UnreadableExport, match=r"has no experiment 'tset'; it has test"):
        read_estimates(tmp_path, "tset")
    (tmp_path / "a-file").write_text("")
    with pytest.raises(FlipsideError, match=r"cannot write to .*a-file"):
        write(tables, tmp_path / "a-file")


def test_a_file_that_is_no_parquet_is_named(tables: Tables, tmp_path: Path) -> None:
    write(tables, tmp_path)
    (tmp_path / "panel" / "experiment=test" / f"day={START}" / "v1.parquet").write_bytes(b"not this")
    with pytest.raises(UnreadableExport, match=r"panel: .*export it anew"):
        read("panel", tmp_path)


def test_no_experiment_makes_empty_tables() -> None:
    assert all(table.num_rows == 0 for table in tables_of([]).values())
    assert isinstance(tables_of([])["panel"], pa.Table)
