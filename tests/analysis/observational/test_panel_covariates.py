"""Covariates are taken out of the outcome by what they explain in control cells."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.observational.panel_estimate import estimate_panel
from analysis.panel_data.panel import FloatArray, Panel
from controller.errors import InvalidPanel, NotEstimable
from tests.analysis.panels import factor_panel


def confounded(seed: int) -> tuple[Panel, FloatArray]:
    """A covariate that moves with the treatment and shifts the outcome by 4 a unit; no effect."""
    rng = np.random.default_rng(seed)
    drawn = factor_panel(rng, n_control=40, n_treated=8, rank=0)
    covariate = rng.normal(size=drawn.outcome.shape) + 2 * drawn.treated
    return replace(drawn.panel(), outcome=drawn.outcome + 4 * covariate, covariates=(("promo", covariate),)), covariate


@pytest.mark.parametrize("method", ["did", "twfe", "sdid", "difp"])
def test_a_confounder_is_taken_out(method: str) -> None:
    panel, _ = confounded(0)
    rng = np.random.default_rng(0)
    adjusted = estimate_panel(panel, method, "placebo", rng=rng)
    naive = estimate_panel(replace(panel, covariates=()), method, "placebo", rng=rng)
    # 4 a unit, 2 units: all of it confounding; the covariate's own noise moves it by 4 sqrt(1/40 + 1/96 + ...) = .8
    assert naive.effect == pytest.approx(8, abs=2)
    assert adjusted.effect == pytest.approx(0, abs=0.3)
    assert dict(adjusted.settings)["covariates"]["promo"] == pytest.approx(4, abs=0.1)


def test_the_coefficient_is_that_of_the_dummy_regression_on_control_cells() -> None:
    panel, covariate = confounded(1)
    control = ~panel.treated
    n_units, n_periods = panel.outcome.shape
    cells = np.argwhere(control)
    design = np.zeros((len(cells), n_units + n_periods + 1))
    for k, (i, t) in enumerate(cells):
        design[k, i] = design[k, n_units + t] = 1.0
        design[k, -1] = covariate[i, t]
    slope = np.linalg.lstsq(design, panel.outcome[control], rcond=None)[0][-1]
    answer = estimate_panel(panel, "did", rng=np.random.default_rng(0))
    assert dict(answer.settings)["covariates"]["promo"] == pytest.approx(slope, rel=1e-9)


def test_a_covariate_that_fixed_effects_absorb_is_refused() -> None:
    panel, covariate = confounded(2)
    level = np.broadcast_to(covariate[:, :1], covariate.shape)
    with pytest.raises(NotEstimable, match="covariate size does not vary"):
        estimate_panel(replace(panel, covariates=(("size", level),)), "did", rng=np.random.default_rng(0))
    doubled = (("promo", covariate), ("again", 2 * covariate))
    with pytest.raises(NotEstimable, match="promo, again are linearly dependent"):
        estimate_panel(replace(panel, covariates=doubled), "did", rng=np.random.default_rng(0))


def test_a_missing_covariate_is_refused_where_its_cell_is_used() -> None:
    panel, covariate = confounded(3)
    holed = covariate.copy()
    holed[2, 3] = np.nan
    with pytest.raises(InvalidPanel, match="covariate promo of u2 in 003 is missing"):
        estimate_panel(replace(panel, covariates=(("promo", holed),)), "did", rng=np.random.default_rng(0))
