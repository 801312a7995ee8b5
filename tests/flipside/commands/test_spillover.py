"""`flipside spillover` on an export: numbers, JSON, picture, and what it says where there are none."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from analysis.export.folder import write
from analysis.export.tables import tables_of
from analysis.report.page import page
from analysis.worker.analyse import due
from flipside.cli import app
from tests.analysis.worker.substitute_shop import GRAPH, definition, read, sold


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["spillover", "test", *map(str, arguments)])


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of four days with a graph."""
    folder = tmp_path_factory.mktemp("outcome")
    messages = sold(definition(days=4))
    write(tables_of([*messages, *due(read(messages, GRAPH), {})]), folder)
    return folder


def test_the_naive_number_stands_beside_the_corrected_ones(export: Path) -> None:
    result = run("--from", export)
    assert result.exit_code == 0
    shown = result.stdout
    for name in ("naive", "total", "direct", "spillover", "graph g1", "hajek", "linear"):
        assert name in shown
    assert "no unit was in one of the two exposures" in shown


def test_json_has_every_effect_of_the_last_day_once(export: Path) -> None:
    rows = json.loads(run("--from", export, "--json").stdout.splitlines()[-1])
    named = [(row["metric"], row["effect"], row["exposure_estimator"]) for row in rows]
    assert len(named) == len(set(named)) == 3 * 7
    assert {row["day"] for row in rows} == {"2026-03-05"}


@pytest.mark.parametrize("kind", ["html", "svg", "png"])
def test_the_picture_is_written(export: Path, tmp_path: Path, kind: str) -> None:
    picture = tmp_path / f"juice.{kind}"
    assert run("--from", export, "--picture", picture, "--metric", "units").exit_code == 0
    assert picture.stat().st_size > 1000


def test_the_report_has_the_picture_and_the_numbers(export: Path) -> None:
    messages = sold(definition(days=4))
    text = page(tables_of([*messages, *due(read(messages, GRAPH), {})]), "test")
    assert "Who pays for it" in text
    assert 'id="spillover-low-units"' in text
    plain = page(tables_of([*messages, *due(read(messages, None), {})]), "test")
    assert "Who pays for it" not in plain


def test_without_a_graph_it_says_why_there_is_nothing(tmp_path: Path) -> None:
    messages = sold(definition(days=4))
    write(tables_of([*messages, *due(read(messages, None), {})]), tmp_path)
    assert "no graph of substitutes was published before" in str(run("--from", tmp_path).exception)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--picture", "juice.gif"], "the name ends in .html, .svg or .png"),
        (["--picture", "juice.svg", "--metric", "profit"], "choose one of units, revenue, margin"),
        (["--picture", "/nowhere/juice.svg"], "cannot write /nowhere/juice.svg"),
    ],
)
def test_a_wrong_option_is_named(export: Path, given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in str(run("--from", export, *given).exception)
