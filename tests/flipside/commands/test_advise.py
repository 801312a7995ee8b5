"""``flipside advise`` on a folder of sales and on a table, and what it says of bad ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from controller.errors import FlipsideError, InvalidPanel
from flipside.cli import app
from flipside.documents import read_experiment
from flipside.sales_history.tables import Columns, read_sales
from flipside.schemas import ROOT

SALES = ROOT / "examples" / "sales"


def table(path: Path, days: int = 60, units: int = 8, skip: int | None = None) -> Path:
    rng = np.random.default_rng(2)
    lines = ["unit,time,outcome,zone"]
    for unit in range(units):
        for day in range(days):
            if day != skip:
                date = np.datetime64("2026-01-01") + day
                lines.append(f"sku {unit},{date},{rng.lognormal(3, 0.2):.3f},zone {unit // 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


def advise(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(app, ["advise", *arguments, "--jobs", "1", "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return answer


def test_the_advice_on_a_folder_of_sales_is_a_definition_that_replays(tmp_path: Path) -> None:
    out = tmp_path / "advised.yaml"
    answer = advise(str(SALES), "--effect=-0.1", "--weeks=16", "--runs=4", "--carryover-days=3", "--out", str(out))
    # a week of history is the replay's day, and three days of carryover do not fit into less than one
    assert (answer["period_days"], answer["carryover_periods"], answer["periods"]) == (7, 1, 16)
    designs = answer["designs"]
    assert isinstance(designs, list)
    chosen = next(d for d in designs if d["name"] == answer["recommended"])
    assert {"bias", "se", "mde", "mde_anytime", "changes_per_unit", "days_to_decide", "false_positives"} <= set(chosen)
    assert answer["reasons"]
    assert read_experiment(out).design.kind == chosen["kind"]


def test_the_table_for_people_has_every_design_and_the_reasons() -> None:
    arguments = ["advise", str(SALES), "--effect=-0.1", "--weeks=16", "--runs=3", "--jobs=1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for words in ("random days", "crossover", "Recommended:", "Monte-Carlo error", "se: standard error"):
        assert words in result.stdout


def test_price_zones_of_a_table_are_randomised_together(tmp_path: Path) -> None:
    history = read_sales(table(tmp_path / "panel.csv"), columns=Columns(cluster="zone"))
    assert isinstance(history.clusters, dict)
    assert sorted(map(len, history.clusters.values())) == [2, 2, 2, 2]
    answer = advise(
        str(table(tmp_path / "panel.csv")), "--effect=0.2", "--weeks=4", "--runs=3", "--cluster=zone",
        "--design=random_days",
    )  # fmt: skip
    assert answer["recommended"] is not None


def test_a_day_without_any_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPanel, match="no row between 2026-01-10 and 2026-01-12"):
        read_sales(table(tmp_path / "panel.csv", skip=10))


def test_a_market_that_is_not_there_is_named() -> None:
    with pytest.raises(FlipsideError, match="--market nowhere is not in the history; it has store-1"):
        read_sales(SALES, markets=["nowhere"])


def test_one_market_alone_can_be_randomised_by_product() -> None:
    history = read_sales(SALES, markets=["store-1"], clusters="unit")
    assert {unit.partition("/")[0] for unit in history.units} == {"store-1"}
    assert history.outcome.shape == (40, 6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--effect=0", "--weeks=4"], "name the smallest effect"),
        (["--effect=0.1", "--weeks=4", "--design=zigzag"], "it is one of random_days"),
    ],
)
def test_a_question_that_makes_no_sense_is_sent_back(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["advise", str(SALES), *arguments])
    assert result.exit_code == 2
    assert said in result.output
