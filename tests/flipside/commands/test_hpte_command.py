"""`flipside hpte`: a panel and attributes as files, numbers as JSON, pictures, one line where something is wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flipside.cli import app

UNITS, BEFORE, AFTER = 60, 21, 10


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    rng = np.random.default_rng(2)
    names = [f"p{k:02d}" for k in range(UNITS)]
    days = pd.date_range("2026-01-01", periods=BEFORE + AFTER).strftime("%Y-%m-%d")
    toys = np.arange(UNITS) % 2 == 1
    treated = np.zeros((UNITS, BEFORE + AFTER), int)
    treated[rng.permutation(UNITS)[: UNITS // 2], BEFORE:] = 1
    sales = rng.normal(5, 1, (UNITS, 1)) + treated * toys[:, None] + rng.normal(0, 0.3, treated.shape)
    panel, products = tmp_path / "panel.csv", tmp_path / "products.parquet"
    pd.DataFrame(
        {
            "unit": np.repeat(names, len(days)),
            "time": np.tile(days, UNITS),
            "outcome": sales.ravel(),
            "treatment": treated.ravel(),
        }
    ).to_csv(panel, index=False)
    pd.DataFrame({"unit": names, "category": np.where(toys, "toys", "food")}).to_parquet(products)
    return str(panel), str(products)


def test_json_has_the_average_the_levels_and_each_unit_and_pictures_are_written(
    files: tuple[str, str], tmp_path: Path
) -> None:
    panel, products = files
    pictures = tmp_path / "pictures"
    asked = ["hpte", panel, "--attributes", products, "--noise", "scores", "--json", "--pictures", str(pictures)]
    answer = CliRunner().invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["label"] == "fixed-horizon"
    assert found["average"]["low"] < 0.5 < found["average"]["high"]
    levels = {one["level"]: one for one in found["levels"]}
    assert levels["food"]["high"] < levels["toys"]["low"]
    assert len(found["units"]) == UNITS
    assert {path.name for path in pictures.iterdir()} == {"levels.svg", "units.svg", "importance.svg"}


def test_a_unit_without_attributes_is_named_in_one_line(files: tuple[str, str], tmp_path: Path) -> None:
    panel, products = files
    pd.read_parquet(products).iloc[1:].to_csv(tmp_path / "some.csv", index=False)
    answer = CliRunner().invoke(app, ["hpte", panel, "--attributes", str(tmp_path / "some.csv")])
    assert answer.exit_code == 2
    assert "p00 the first" in answer.stderr
    assert "--drop-incomplete" in answer.stderr
