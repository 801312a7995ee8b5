"""Closed forms of power against their published figures, and the command that prints them."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from analysis.planning.power import days_to_decide, power_of, standard_error
from benchmarks.randomised.worlds import balanced_blocks
from flipside.commands.power import power

PUBLISHED = {"clusters": 100, "blocks": 168, "observations": 20, "cv": 1.5, "macro_share": 0.2, "sd": 1000}
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
