"""The process behind the published placebo simulations: its parts, its draws, the published facts about them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from analysis.observational.placebo_designs import (
    SDID_DESIGNS,
    TROP_DESIGNS,
    PlaceboDesign,
    ar2_covariance,
    components,
    draw,
    logit_fit,
)
from controller.errors import NotEstimable

BASELINE = SDID_DESIGNS["baseline"]


def cps(shared_data: Path, outcome: str) -> tuple[np.ndarray, np.ndarray]:
    with (shared_data / "panels" / "cps.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["unit"], int(row["time"])))
    values = np.array([float(row[outcome]) for row in rows]).reshape(50, 40)
    return values, np.array([row["min_wage"] == "1" for row in rows]).reshape(50, 40)[:, -1]


@pytest.mark.shared_data
@pytest.mark.parametrize(("outcome", "dataset"), [("log_wage", "CPS logwage")])
def test_parts_have_the_published_sizes(shared_data: Path, outcome: str, dataset: str) -> None:
    with (shared_data / "panels" / "published_trop_table2_A1_rmse.csv").open() as file:
        row = next(r for r in csv.DictReader(file) if r["dataset"] == dataset)
    parts = components(*cps(shared_data, outcome), TROP_DESIGNS[dataset])
    sizes = [np.sqrt(np.mean(part**2)) for part in (parts.additive, parts.interactive)]
    noise = np.sqrt((parts.noise_root**2).sum(axis=1).mean())
    assert sizes == pytest.approx([float(row["F_rms"]), float(row["M_rms"])], rel=0.03)
    assert noise == pytest.approx(float(row["noise_sd"]), rel=0.05)


@pytest.mark.shared_data
def test_every_published_design_of_the_sdid_paper_is_listed(shared_data: Path) -> None:
    with (shared_data / "panels" / "published_sdid_aer2021_tables.csv").open() as file:
        assert {row["simulation"] for row in csv.DictReader(file)} == set(SDID_DESIGNS)


def test_ar2_covariance_recovers_the_process_that_made_the_noise() -> None:
    rng = np.random.default_rng(0)
    noise = np.zeros((4000, 60))
    for t in range(2, 60):
        noise[:, t] = 0.5 * noise[:, t - 1] - 0.3 * noise[:, t - 2] + rng.normal(size=4000)
    found = ar2_covariance(noise[:, 20:])
    # rho_1 = .5/1.3, variance = 1/(1 - .5 rho_1 + .3 rho_2) with rho_2 = .5 rho_1 - .3
    rho1 = 0.5 / 1.3
    variance = 1 / (1 - 0.5 * rho1 + 0.3 * (0.5 * rho1 - 0.3))
    assert found[0, 0] == pytest.approx(variance, rel=0.02)
    assert found[0, 1] == pytest.approx(variance * rho1, rel=0.05)


def test_logit_solves_its_score_equations_and_refuses_separation() -> None:
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(200, 3))
    policy = rng.random(200) < 1 / (1 + np.exp(-factors[:, 0]))
    chance = logit_fit(factors, policy)
    np.testing.assert_allclose(np.column_stack([np.ones(200), factors]).T @ (policy - chance), 0, atol=1e-8)
    with pytest.raises(NotEstimable, match="separate"):
        logit_fit(factors, factors[:, 0] > 0)


def test_draws_treat_the_last_periods_of_at_most_the_cap_and_a_ramp_averages_to_nothing() -> None:
    rng = np.random.default_rng(2)
    Y = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20)) + 0.1 * rng.normal(size=(30, 20))
    design = PlaceboDesign("none", "none", "random", n_treated=4, n_post=5, resample=50)
    parts = components(Y, None, design)
    for seed in range(20):
        plain, treated = draw(parts, design, np.random.default_rng(seed))
        ramped, same = draw(parts, design, np.random.default_rng(seed), ramp=0.7)
        assert plain.shape == (50, 20)
        assert (treated == same).all()
        assert 1 <= treated.any(axis=1).sum() <= 4
        assert treated.sum() == 5 * treated.any(axis=1).sum()
        assert not treated[:, :15].any()
        assert (ramped - plain)[treated].mean() == pytest.approx(0, abs=1e-12)
        assert (ramped - plain)[treated].max() == pytest.approx(0.7)


def test_switched_off_parts_are_zero() -> None:
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 15)) + 0.1 * rng.normal(size=(20, 15))
    assert not components(Y, None, SDID_DESIGNS["no.M"]).interactive.any()
    assert not components(Y, None, SDID_DESIGNS["no.F"]).additive.any()
    assert not components(Y, None, SDID_DESIGNS["no.noise"]).noise_root.any()
    covariance = components(Y, None, SDID_DESIGNS["no.corr"]).noise_root
    off_diagonal = covariance @ covariance.T - np.diag(np.diag(covariance @ covariance.T))
    np.testing.assert_allclose(off_diagonal, 0, atol=1e-12)


def test_missing_cells_are_refused() -> None:
    with pytest.raises(NotEstimable, match="balanced"):
        components(np.full((5, 6), np.nan), None, BASELINE)
