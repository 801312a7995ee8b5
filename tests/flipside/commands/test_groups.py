"""``flipside groups`` as a person and a machine meet it."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from flipside.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """120 units in random days: the price hurts in shops at the border only."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("groups")
    border, kind = rng.random(120) < 0.3, rng.integers(0, 3, 120)
    lines = ["unit,time,outcome,treatment"]
    level = rng.normal(3, 1, 120)
    for day in range(20):
        arm = rng.permutation(120) % 2 == 0
        y = level + rng.normal(0, 0.2) + rng.normal(0, 0.1, 120) - 0.3 * arm * border
        lines += [f"u{k},2025-03-{day + 1:02d},{y[k]},{int(arm[k])}" for k in range(120)]
    panel, attributes = folder / "panel.csv", folder / "attributes.csv"
    panel.write_text("\n".join(lines) + "\n")
    rows = [f"u{k},{'border' if border[k] else 'inland'},{kind[k]},2025-02-01" for k in range(120)]
    attributes.write_text("unit,place,kind,measured\n" + "\n".join(rows) + "\n")
    return panel, attributes


def test_the_group_that_a_price_hurts_is_named_and_spelled_as_strata(shop: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / "groups.svg"
    arguments = ["groups", str(shop[0]), "--attributes", str(shop[1]), "--measured", "measured"]
    result = run(app, [*arguments, "--direction", "lowest", "--strata", "place = border", "--picture", str(picture)])
    assert result.exit_code == 0, result.stderr
    assert "How many were looked at" in result.stdout
    strata = yaml.safe_load(result.stdout[result.stdout.index("balance:") :])["balance"]["strata"]
    assert set(strata) == {"place-border", "others"}
    assert "place = border" in picture.read_text()
    found = json.loads(run(app, [*arguments, "--direction", "lowest", "--json"]).stdout)
    named = next(one for one in found["groups"] if one["name"] == "place = border")
    assert named["named"]
    assert named["ci"][0] < -0.3 < named["ci"][1]
    assert sorted(named["members"]) == strata["place-border"]


def test_an_attribute_measured_after_the_start_is_refused_because_it_may_be_an_outcome(
    shop: tuple[Path, Path], tmp_path: Path
) -> None:
    late = tmp_path / "late.csv"
    late.write_text(shop[1].read_text().replace("2025-02-01", "2025-03-05"))
    result = run(app, ["groups", str(shop[0]), "--attributes", str(late), "--measured", "measured"])
    assert result.exit_code == 2
    assert "may be an outcome" in result.stderr


def test_units_without_attributes_are_counted_and_strangers_are_refused(
    shop: tuple[Path, Path], tmp_path: Path
) -> None:
    some = tmp_path / "some.csv"
    some.write_text("\n".join(shop[1].read_text().splitlines()[:101]) + "\n")
    result = run(app, ["groups", str(shop[0]), "--attributes", str(some), "--json"])
    assert any("20 unit(s) have no row of attributes" in note for note in json.loads(result.stdout)["notes"])
    other = tmp_path / "other.csv"
    other.write_text(shop[1].read_text().replace("\nu", "\nv"))
    refused = run(app, ["groups", str(shop[0]), "--attributes", str(other)])
    assert refused.exit_code == 2
    assert "spell units alike" in refused.stderr
    assert run(app, ["groups", str(shop[0]), "--attributes", str(tmp_path / "no.csv")]).exit_code == 2
