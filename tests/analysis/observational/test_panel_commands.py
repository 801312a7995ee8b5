"""``flipside estimate`` and ``flipside bakeoff`` as a person and a machine meet them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.observational.estimators.by_name import ESTIMATORS
from analysis.observational.panel_estimate import Se
from analysis.observational.sample_panel import sample_panel, write_panel
from flipside.cli import app
from flipside.commands.estimate import Method, SeKind

run = CliRunner().invoke
KEYS = [
    *("method", "effect", "se", "ci_low", "ci_high"),
    *("n_units", "n_treated", "n_pre", "n_post", "settings", "warnings"),
]


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panels") / "sales.csv"
    drawn = sample_panel(np.random.default_rng(1), n_units=24, n_treated=3, n_weeks=24, n_treated_weeks=5)
    write_panel(drawn.panel, path)
    return path


def test_json_is_one_list_of_objects_on_the_last_line(sales: Path) -> None:
    result = run(app, ["estimate", str(sales), "--method", "sdid", "--json"])
    assert result.exit_code == 0, result.stderr
    (answer,) = json.loads(result.stdout.splitlines()[-1])
    assert list(answer) == KEYS
    assert answer["ci_low"] < answer["effect"] < answer["ci_high"]
    assert (answer["n_units"], answer["n_treated"], answer["n_pre"], answer["n_post"]) == (24, 3, 19, 5)
    assert answer["settings"]["label"] == "observational"


def test_the_table_shows_effect_error_and_interval(sales: Path) -> None:
    result = run(app, ["estimate", str(sales), "--method", "did", "--se", "jackknife", "--diagnostics"])
    assert result.exit_code == 0, result.stderr
    assert "observational" in result.stdout
    assert "jackknife" in result.stdout
    assert "pre-period fit" in result.stdout


def test_the_same_seed_prints_the_same_numbers(sales: Path) -> None:
    first, second = (run(app, ["estimate", str(sales), "--se", "bootstrap", "--draws", "20", "--json"]) for _ in "ab")
    assert first.stdout == second.stdout


def test_what_is_not_valid_is_null_with_its_reason(sales: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    drawn = sample_panel(np.random.default_rng(2), n_units=12, n_treated=1, n_weeks=16, n_treated_weeks=3)
    write_panel(drawn.panel, one)
    (answer,) = json.loads(run(app, ["estimate", str(one), "--se", "bootstrap", "--json"]).stdout)
    assert answer["effect"] is not None
    assert answer["se"] is None
    assert "one treated unit" in answer["warnings"][-1]


def test_covariates_clusters_and_left_out_weeks_are_columns(tmp_path: Path) -> None:
    path = tmp_path / "washed.parquet"
    drawn = sample_panel(
        np.random.default_rng(3), n_units=60, n_treated=25, n_weeks=20, n_treated_weeks=6, washout_weeks=2
    )
    write_panel(drawn.panel, path)
    options = ["--covariate", "promotion", "--cluster", "cluster", "--leave-out", "leave_out", "--se", "jackknife"]
    result = run(app, ["estimate", str(path), "--method", "did", *options, "--json"])
    (answer,) = json.loads(result.stdout.splitlines()[-1])
    assert answer["n_post"] == 4
    assert answer["settings"]["covariates"]["promotion"] == pytest.approx(0.2, abs=0.05)
    assert "2 period(s) without a usable cell are dropped" in answer["warnings"][0]


def test_incomplete_units_are_refused_unless_dropping_is_asked_for(sales: Path, tmp_path: Path) -> None:
    lines = sales.read_text().splitlines()
    holed = tmp_path / "holed.csv"
    holed.write_text("\n".join([*lines[:5], *lines[6:]]))
    refused = run(app, ["estimate", str(holed), "--method", "did"])
    assert refused.exit_code == 2
    assert "1 cell(s) of 1 unit(s) cannot be used" in refused.stderr
    kept = run(app, ["estimate", str(holed), "--method", "did", "--drop-incomplete", "--json"])
    (answer,) = json.loads(kept.stdout.splitlines()[-1])
    assert answer["n_units"] == 23
    assert answer["warnings"][0] == "1 unit(s) with missing cells were left out"


def test_bad_input_is_one_sentence_on_stderr_and_exit_code_two(sales: Path) -> None:
    result = run(app, ["estimate", str(sales), "--outcome", "profit"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: there is no column profit")
    assert "Traceback" not in result.stderr


def rows_of(**spoiled: object) -> str:
    """Six shops over six weeks, c and d with a lower price from the fourth; a column may be spoiled by a function."""
    lines = ["unit,time,outcome,treatment"]
    for k, product in enumerate("abcdef"):
        for week in range(1, 7):
            row = {
                "outcome": 10 * k + week + (7 * k + 3 * week) % 5,
                "treatment": int(product in "cd" and week > 3),
            }
            row |= {name: change(product, week, row[name]) for name, change in spoiled.items()}  # type: ignore[operator]
            lines.append(f"{product},{week},{row['outcome']},{row['treatment']}")
    return "\n".join(lines) + "\n"


def moved(text: str, row: int, to: int) -> str:
    lines = text.splitlines()
    lines.insert(to, lines.pop(row))
    return "\n".join(lines) + "\n"


BAD_INPUT = {
    "treated from the first period": (
        rows_of(treatment=lambda p, w, v: 1 if p == "c" else v),
        "row 13: c is treated in each of its 6 row(s), from its first period on",
    ),
    "no controls": (
        rows_of(treatment=lambda p, w, v: int(w > 3)),
        "row 4: a is treated in 4, and whenever a unit is, all 6 are: without controls",
    ),
    "one pre-period": (
        rows_of(treatment=lambda p, w, v: int(p in "cd" and w > 1)),
        "the cohort of c, d has 1 pre-period(s) before 2: the weighted estimators need two at least",
    ),
    "all-missing row": (
        rows_of(outcome=lambda p, w, v: "" if p == "b" else v),
        "row 7: b has no outcome in any of its 6 row(s): leave the unit out",
    ),
    "constant outcome": (rows_of(outcome=lambda p, w, v: 3), "the outcome is 3 in every usable cell"),
    "non-numeric column": (
        rows_of(outcome=lambda p, w, v: "many" if (p, w) == ("b", 3) else v),
        "row 9: outcome is 'many', which is no number",
    ),
    "duplicate unit-time": (
        rows_of() + "b,2,11,0\n",
        "row 37: b in 2 was already given in row 8: one row for each unit and period",
    ),
    "treatment not 0/1": (
        rows_of(treatment=lambda p, w, v: 2 if (p, w) == ("d", 5) else v),
        "row 23: treatment is 2: a treatment is 0 or 1",
    ),
    "unsorted time": (moved(rows_of(), 4, 5), "row 5: a goes back from 5 to 4: periods must increase within a unit"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_a_bad_panel_is_refused_with_the_rule_and_the_row_and_no_number(case: str, tmp_path: Path) -> None:
    text, message = BAD_INPUT[case]
    path = tmp_path / "sales.csv"
    path.write_text(text)
    result = run(app, ["estimate", str(path), "--method", "sdid", "--json"])
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert "NaN" not in result.stdout
    assert all(answer["effect"] is None for answer in json.loads(result.stdout or "[]"))


def test_bakeoff_prints_a_ranking_and_a_recommendation(sales: Path) -> None:
    options = ["--placebos", "20", "--jobs", "1", "--method", "did", "--method", "sdid"]
    result = run(app, ["bakeoff", str(sales), *options, "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert {one["method"] for one in report["ranking"]} == {"did", "sdid"}
    assert report["recommendation"].startswith(f"Use {report['ranking'][0]['method']}")
    table = run(app, ["bakeoff", str(sales), *options])
    assert "Monte-Carlo" in table.stdout
    assert table.stdout.splitlines()[-1].startswith("Use ")


def test_help_teaches_without_loading_numpy() -> None:
    shown = "import sys, flipside.cli; print([m for m in ('numpy', 'scipy', 'pyarrow', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True).stdout == "[]\n"
    text = run(app, ["estimate", "--help"]).stdout
    assert "Example:" in text
    assert "--treatment" in text


def test_the_command_line_names_are_those_of_the_library() -> None:
    assert set(get_args(Method)) == {*ESTIMATORS, "all"}
    assert set(get_args(SeKind)) == set(get_args(Se))
