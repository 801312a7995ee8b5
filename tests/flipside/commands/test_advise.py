"""``flipside advise`` on a folder of sales and on a table, and what it says of bad ones."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.planning.advice import Question
from analysis.planning.advise import advise as advise_on
from analysis.planning.candidates import Constraints
from analysis.planning.rehearsal import Truth
from controller.errors import FlipsideError, InvalidPanel
from flipside.cli import app
from flipside.documents import read_experiment
from flipside.sales_history.own_sales import for_rehearsal, read_own
from flipside.sales_history.tables import Columns, read_sales
from flipside.schemas import ROOT
from flipside.terminal.advice_output import text_of

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


def daily(path: Path) -> Path:
    """Three months of 8 stores and 2 products, a row a day, in euros."""
    rng = np.random.default_rng(4)
    rows = (
        f"s{unit // 2},p{unit % 2},{np.datetime64('2026-01-05') + day},{rng.poisson(30)},3.49,EUR"
        for unit in range(16)
        for day in range(98)
    )
    path.write_text("store,product,date,quantity,price,currency\n" + "\n".join(rows) + "\n")
    return path


HISTORIES = {
    "a folder of weeks": lambda path: read_sales(SALES),
    "a table of outcomes in price zones": lambda path: read_sales(
        table(path / "t.csv", days=98), columns=Columns(cluster="zone")
    ),
    "sales of days": lambda path: for_rehearsal(read_own(daily(path / "s.csv")), "units", "market"),
}


@pytest.mark.parametrize("of", HISTORIES)
@pytest.mark.parametrize("carryover", [0, 2])
def test_design_accepts_whatever_advise_can_write(tmp_path: Path, of: str, carryover: int) -> None:
    history = HISTORIES[of](tmp_path)
    periods = 28 if history.period_days == 1 else 16
    question = Question(Constraints(periods, history.period_days, carryover), Truth(-0.1, carryover, 0.0), runs=2)
    found = [design for design in advise_on(history, question).designs if design.may_run]
    assert len(found) >= 5
    for design in found:
        path = tmp_path / "advised.yaml"
        path.write_text(text_of(design, history, date(2099, 1, 5)))
        result = CliRunner().invoke(app, ["design", str(path), "--json"])
        assert result.exit_code == 0, f"{design.name}: {result.output}\n{path.read_text()[:600]}"
        written = read_experiment(path)
        assert written.design.kind == design.kind
        assert set(written.units) == set(history.units)
        assert written.currency == history.currency


def test_the_design_that_decides_soonest_is_recommended_and_fewer_changes_are_shown_not_chosen(tmp_path: Path) -> None:
    answer = advise(str(daily(tmp_path / "s.csv")), "--effect=-0.05", "--weeks=6", "--runs=12")
    designs = answer["designs"]
    assert isinstance(designs, list)
    running = [d for d in designs if d["refused"] is None and d["days_to_decide"]]
    chosen = next(d for d in running if d["name"] == answer["recommended"])
    assert chosen["days_to_decide"] == min(d["days_to_decide"] for d in running)
    assert isinstance(answer["reasons"], list)
    assert any(reason.startswith("fewer price changes: ") for reason in answer["reasons"])
