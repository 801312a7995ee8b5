"""California's Proposition 99, end to end: file, estimate, exact placebo standard error."""

from pathlib import Path

import numpy as np
import pytest

from analysis.panel_estimate import estimate_panel
from tests.analysis.panels import prop99

pytestmark = pytest.mark.shared_data

#: exact optimum; published estimate with the distance that early stopping of the published code accounts for; exact
#: placebo standard error over all 38 controls (an interior-point oracle agrees on every placebo of SC to 1e-9)
NUMBERS = {
    "did": (-27.349111, -27.349, 0.002, 17.29),
    "sc": (-19.513630, -19.6197, 0.15, 10.63),
    "sdid": (-15.605398, -15.6038, 0.002, 9.37),
    "difp": (-11.109042, -11.1046, 0.01, 10.07),
}
#: the digits that the exact optima are given to
_OPTIMUM = 1e-6
#: half a unit of the last printed digit
_PRINTED = 0.005


@pytest.mark.parametrize("method", NUMBERS)
def test_estimates_and_exact_placebo_errors_are_those_of_the_optimum(method: str, shared_data: Path) -> None:
    optimum, published, distance, se = NUMBERS[method]
    answer = estimate_panel(prop99(shared_data), method, "placebo", rng=np.random.default_rng(0))
    assert answer.effect == pytest.approx(optimum, abs=_OPTIMUM)
    assert answer.effect == pytest.approx(published, abs=distance)
    assert answer.se == pytest.approx(se, abs=_PRINTED)
    assert dict(answer.settings)["placebos"] == 38
    assert dict(answer.settings)["enumerated"] is True
    assert (answer.n_units, answer.n_treated, answer.n_pre, answer.n_post) == (39, 1, 19, 12)


def test_imputation_is_difference_in_differences_on_a_block(shared_data: Path) -> None:
    panel = prop99(shared_data)
    did, twfe = (estimate_panel(panel, method, "placebo", rng=np.random.default_rng(0)) for method in ("did", "twfe"))
    assert twfe.effect == pytest.approx(did.effect, abs=1e-10)
    assert twfe.se == pytest.approx(did.se, abs=1e-10)


@pytest.mark.parametrize("se", ["jackknife", "bootstrap"])
@pytest.mark.parametrize("method", [*NUMBERS, "twfe"])
def test_one_treated_state_has_no_jackknife_and_no_bootstrap(method: str, se: str, shared_data: Path) -> None:
    answer = estimate_panel(prop99(shared_data), method, se, rng=np.random.default_rng(0))  # type: ignore[arg-type]
    assert answer.effect is not None
    assert answer.se is None
    assert answer.ci_low is None
    assert any("one treated unit" in warning for warning in answer.warnings)


def test_matrix_completion_is_the_published_number_and_its_placebos_keep_the_penalty(shared_data: Path) -> None:
    answer = estimate_panel(prop99(shared_data), "mc", "placebo", rng=np.random.default_rng(0))
    assert answer.effect == pytest.approx(-20.218, abs=1e-3)
    assert dict(answer.settings)["relative_gap"] < 1e-6
    # all 38 placebos at the penalty of the real fit; 11.68 in print, where the penalty was not kept to all digits
    assert answer.se == pytest.approx(11.68, abs=0.1)


@pytest.mark.slow
def test_the_doubly_weighted_estimator_picks_its_penalties_and_says_how_it_was_refitted(shared_data: Path) -> None:
    answer = estimate_panel(prop99(shared_data), "trop-block", "placebo", rng=np.random.default_rng(0))
    settings = dict(answer.settings)
    assert (settings["unit"], settings["time"], settings["nuclear"]) == (0.5, 0.5, 0.5)
    assert answer.effect == pytest.approx(-20.92, abs=0.01)
    masked = estimate_panel(prop99(shared_data), "trop", "jackknife", rng=np.random.default_rng(0))
    assert masked.effect == pytest.approx(answer.effect, abs=1.5)
    assert masked.se is None
    assert "refit the block-masked form" in masked.warnings[0]
