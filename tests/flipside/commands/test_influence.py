"""``flipside influence`` as a person and a machine meet it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.observational.estimators.by_name import ESTIMATORS
from analysis.observational.sample_panel import sample_panel, write_panel
from flipside.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panels") / "sales.csv"
    drawn = sample_panel(np.random.default_rng(1), n_units=24, n_treated=3, n_weeks=24, n_treated_weeks=5)
    write_panel(drawn.panel, path)
    return path


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight stores of two units each, a draw a day; store-3 carries the sign."""
    rng = np.random.default_rng(2)
    lines = ["unit,time,outcome,treatment,store"]
    for day in range(14):
        arm = rng.permutation(8) % 2 == 0
        for store in range(8):
            for item in "ab":
                y = 5 + rng.normal(0, 0.02) - 0.1 * arm[store] + 3.0 * (store == 3) * arm[store]
                lines.append(f"s{store}{item},2025-03-{day + 1:02d},{y},{int(arm[store])},store-{store}")
    path = tmp_path_factory.mktemp("panels") / "days.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("method", ["means", "did", "sc", "sdid"])
def test_json_names_every_unit_and_period(sales: Path, method: str) -> None:
    result = run(app, ["influence", str(sales), "--method", method, "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert len(found["without_unit"]) == 24
    assert found["without_cluster"] is None
    if method != "means":
        assert len(found["without_period"]) == 24
        estimated = json.loads(run(app, ["estimate", str(sales), "--method", method, "--json"]).stdout)
        assert found["effect"] == pytest.approx(estimated[0]["effect"], abs=1e-12)
        assert set(ESTIMATORS) >= {method}


def test_the_store_that_carries_the_sign_is_named(days: Path, tmp_path: Path) -> None:
    picture = tmp_path / "stores.svg"
    arguments = ["influence", str(days), "--method", "cluster-day", "--cluster", "store"]
    result = run(app, [*arguments, "--picture", str(picture)])
    assert result.exit_code == 0, result.stderr
    assert "it would turn without these 1 clusters: store-3; no smaller set does" in result.stdout
    assert "store-3" in picture.read_text()
    found = json.loads(run(app, [*arguments, "--json"]).stdout)
    assert found["turning"] == ["store-3"]
    assert len(found["without_cluster"]) == 8
    assert len(found["without_unit"]) == 16
    assert len(found["without_period"]) == 14


def test_what_cannot_be_drawn_or_estimated_is_refused_with_its_way_out(days: Path, sales: Path) -> None:
    wrong = run(app, ["influence", str(sales), "--picture", "bars.gif"])
    assert "a picture is written as .svg, .png, .html" in str(wrong.exception)
    back = run(app, ["influence", str(days), "--method", "did"])
    assert back.exit_code == 2
    assert "goes back to control" in back.stderr
