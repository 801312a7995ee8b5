"""Closed forms of power against their published figures, and the command that prints them."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from analysis.planning.power import days_to_decide, power_of, standard_error
from analysis.planning.power_parts import parts_of
from analysis.planning.rehearsal import History
from benchmarks.randomised.worlds import balanced_blocks
from flipside.commands.power import power

PUBLISHED: dict[str, Any] = {
    "clusters": 100,
    "blocks": 168,
    "observations": 20,
    "cv": 1.5,
    "macro_share": 0.2,
    "sd": 1000,
}
ARGUMENTS = [f"--{name.replace('_', '-')}={value}" for name, value in PUBLISHED.items()]

app = typer.Typer()
app.command()(power)


def test_the_published_example_gives_its_standard_error_and_smallest_effect() -> None:
    found = power_of(standard_error(**PUBLISHED))
    assert found.se == pytest.approx(12.91, abs=0.005)
    assert found.mde == pytest.approx(36.17, abs=0.005)
    # (1.549 * 1.96 + .8416) * 12.91
    assert found.mde_anytime == pytest.approx(50.05, abs=0.02)


def test_the_closed_form_is_the_scatter_of_simulated_experiments() -> None:
    rng = np.random.default_rng(1)
    clusters, blocks, mean, cv, share = 12, 14, 10, 0.8, 0.3
    effects = []
    for _ in range(1500):
        arm = balanced_blocks(rng, clusters, blocks, 1).astype(bool)
        shape = 1.0 / cv**2
        count = rng.poisson(mean * rng.gamma(shape, 1.0 / shape, arm.shape))
        total = count * share**0.5 * rng.standard_normal(arm.shape)
        total += ((1.0 - share) * count) ** 0.5 * rng.standard_normal(arm.shape)
        effects.append(total[arm].sum() / count[arm].sum() - total[~arm].sum() / count[~arm].sum())
    # poisson counts around gamma rates: E n^2 / (E n)^2 = 1 + cv^2 + 1 / n, the formula's bracket
    planned = standard_error(clusters=clusters, blocks=blocks, observations=mean, cv=cv, macro_share=share, sd=1.0)
    assert planned == pytest.approx(np.std(effects), rel=0.06)  # 1500 repetitions: +- 1.8 %


def test_the_days_to_decide_give_back_the_effect_they_were_asked_for() -> None:
    one_block = standard_error(**{**PUBLISHED, "blocks": 1})
    found = days_to_decide(36.17, one_block)
    assert found.blocks == 168
    assert power_of(one_block / found.blocks_anytime**0.5).mde_anytime <= 36.17
    assert power_of(one_block / (found.blocks_anytime - 1) ** 0.5).mde_anytime > 36.17
    assert found.days % 7 == 0
    assert found.days >= found.blocks


def test_a_prudent_planner_inflates_the_error() -> None:
    assert standard_error(**PUBLISHED, inflate=0.15) == pytest.approx(1.15 * standard_error(**PUBLISHED))


@pytest.mark.parametrize(
    ("name", "value"), [("clusters", 0), ("sd", -1.0), ("macro_share", 1.2), ("cv", -0.1), ("observations", 0.0)]
)
def test_an_impossible_size_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = "):
        standard_error(**{**PUBLISHED, name: value})


def test_the_command_prints_json_with_the_promised_keys() -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert set(document) == {"se", "mde", "mde_anytime"}
    assert (round(document["se"], 2), round(document["mde"], 2)) == (12.91, 36.17)


def test_the_command_tells_the_days_for_an_effect() -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--effect", "50"])
    assert result.exit_code == 0
    assert "12.91" in result.stdout
    assert "days to find 50, looking any time" in result.stdout


def test_the_command_names_a_bad_value() -> None:
    result = CliRunner().invoke(app, [*ARGUMENTS, "--sd=-5"])
    assert result.exit_code == 2
    assert "sd = -5" in result.output


def test_what_nobody_says_is_assumed_cautiously_and_said() -> None:
    hopeful = CliRunner().invoke(app, [*ARGUMENTS[:3], "--sd=1000", "--cv=0", "--macro-share=0", "--json"])
    cautious = CliRunner().invoke(app, [*ARGUMENTS[:3], "--sd=1000", "--json"])
    assert json.loads(cautious.stdout)["assumed"] == {"macro_share": 0.5, "cv": 0.5}
    assert json.loads(cautious.stdout)["mde"] > 2 * json.loads(hopeful.stdout)["mde"]
    said = CliRunner().invoke(app, [*ARGUMENTS[:3], "--sd=1000"])
    assert "--macro-share is not given: a cautious 0.5 is assumed; --history estimates it" in said.stdout


def test_three_stores_are_promised_no_always_valid_figure() -> None:
    result = CliRunner().invoke(app, ["--clusters=3", *ARGUMENTS[1:], "--effect=50"])
    assert (
        "looking any time none: an always-valid interval needs 3 clusters in each arm (6 for 2 arms); with 3 clusters"
        in result.stdout
    )
    assert "days to find 50, looking any time" not in result.stdout
    document = json.loads(CliRunner().invoke(app, ["--clusters=3", *ARGUMENTS[1:], "--json"]).stdout)
    assert document["mde_anytime"] is None


def panel(stores: int, products: int, days: int, between: float, within: float) -> History:
    """Sales with a known spread of store-days and of products in them."""
    rng = np.random.default_rng(8)
    units = tuple(f"s{s}/p{p}" for s in range(stores) for p in range(products))
    store = np.repeat(np.arange(stores), products)
    level = 100 + rng.normal(0, 20, len(units))
    sold = level + rng.normal(0, 10, (days, 1)) + rng.normal(0, between, (days, stores))[:, store]
    sold += rng.normal(0, within, sold.shape)
    return History(units, sold, tuple(map(str, range(days))), 1, "market", "units")


def test_what_the_closed_form_asks_for_is_estimated_from_sales() -> None:
    found = parts_of(panel(10, 12, 200, between=4.0, within=8.0))
    assert (found.clusters, found.observations, found.cv) == (10, 12.0, 0.0)
    assert found.sd == pytest.approx((4.0**2 + 8.0**2) ** 0.5, rel=0.03)
    assert found.macro_share == pytest.approx(16 / 80, rel=0.1)
    assert found.mean == pytest.approx(100, rel=0.05)


def test_the_history_of_a_file_answers_in_percent_and_in_units_for_the_designs_asked(tmp_path: Path) -> None:
    sales = panel(6, 3, 90, between=4.0, within=8.0)
    rows = ["unit,date,quantity"] + [
        f"{unit},{date(2026, 1, 5) + timedelta(days=day)},{round(sales.outcome[day, k])}"
        for day in range(90)
        for k, unit in enumerate(sales.units)
    ]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(rows) + "\n")
    arguments = ["--history", str(path), "--design=random_days", "--weeks=4"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout.splitlines()[-1])
    assert document["observation"] == "units of one product in one store on one day"
    assert {design["kind"] for design in document["designs"]} == {"random_days"}
    one = document["designs"][0]
    assert one["mde_units"] == pytest.approx(one["mde"] * document["mean"])
    closed = standard_error(
        clusters=document["clusters"], blocks=28, observations=document["observations"], cv=document["cv"],
        macro_share=document["macro_share"], sd=document["sd"],
    )  # fmt: skip
    assert one["se_units"] == pytest.approx(closed, rel=0.25)
    said = CliRunner().invoke(app, arguments).stdout
    assert "An observation is units of one product in one store on one day" in said
    assert "in units" in said


def test_the_history_and_a_size_by_hand_contradict_each_other(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--history", str(tmp_path), "--clusters=4"])
    assert result.exit_code == 2
    assert "--clusters and --history" in result.output
