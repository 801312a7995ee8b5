"""Short forms of the calibration: wide enough for their Monte-Carlo error, narrow enough to catch a wrong formula.

The long form, with thousands of repetitions, is ``python -m benchmarks.randomised.calibration``.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.checks.carryover import carryover_test, less_other_draws, non_anticipation_test
from analysis.checks.trigger_rates import sequential_ratio_p
from analysis.randomised.switchback import bias_corrected_effect, block_means, burn_in_effect
from analysis.randomised.variance import bias_corrected_jackknife, burn_in_jackknife
from benchmarks.randomised.calibration import cover_exact, cover_switchback, cover_time_bound
from benchmarks.randomised.looks import EVER_MISS
from benchmarks.randomised.worlds import balanced_blocks, white, with_effect


def error(share: float, repetitions: int) -> float:
    """Three Monte-Carlo standard errors of a share."""
    return 3.0 * math.sqrt(share * (1.0 - share) / repetitions)


@pytest.mark.parametrize("clusters", [6, 20])
def test_intervals_cover_at_their_rate_and_a_naive_one_does_not(clusters: int) -> None:
    rng, repetitions = np.random.default_rng(clusters), 500
    hits: dict[str, list[bool]] = {}
    for _ in range(repetitions):
        for name, hit in (cover_time_bound(rng, clusters) | cover_switchback(rng, clusters)).items():
            hits.setdefault(name, []).append(hit)
    naive = hits.pop("time-bound, naive z")
    for name, found in hits.items():
        assert 0.935 - error(0.935, repetitions) <= np.mean(found) <= 0.975 + error(0.975, repetitions), name
    if clusters == 6:
        assert np.mean(naive) < 0.9


def test_the_inverted_exact_test_covers() -> None:
    rng = np.random.default_rng(1)
    hits = [cover_exact(rng, 6)["switchback, exact test inverted"] for _ in range(150)]
    assert np.mean(hits) >= 0.95 - error(0.95, 150)


@pytest.mark.parametrize("setting", EVER_MISS)
def test_the_anytime_interval_rarely_ever_misses_and_the_naive_one_often_does(setting: str) -> None:
    rng, repetitions = np.random.default_rng(3), 150
    found = [EVER_MISS[setting](rng) for _ in range(repetitions)]
    assert np.mean([one.missed for one in found]) <= 0.05 + error(0.05, repetitions)
    assert np.mean([one.naive_missed for one in found]) >= 0.14 - error(0.14, repetitions)


def test_the_carryover_test_has_its_size_and_its_power() -> None:
    rng = np.random.default_rng(4)
    rejected: dict[float, list[bool]] = {0.0: [], 0.4: []}
    for spill, found in rejected.items():
        for _ in range(150):
            outcome = white(rng, 40, 28 + 42)
            arm = balanced_blocks(rng, 40, 14, 3)
            value = with_effect(outcome[:, 28:], arm, 1.0, spill) - outcome[:, :28].mean(axis=1, keepdims=True)
            check = carryover_test(
                value, arm, tuple(range(0, 42, 3)), assumed_order=0, longer_order=1, rng=rng, bootstraps=200
            )
            found.append(check.verdict == "fail")
    assert np.mean(rejected[0.0]) <= 0.07 + error(0.07, 150)
    assert np.mean(rejected[0.4]) > 0.8


def test_in_blocks_of_weeks_the_carryover_test_keeps_its_size_and_most_of_its_power() -> None:
    """Whether levels come from the pre-period, or from the very days with the effect in them as in the worker."""
    rng, points = np.random.default_rng(7), tuple(range(0, 42, 7))
    rejected: dict[tuple[float, str], list[bool]] = {}
    for spill in (0.0, 0.4):
        for _ in range(150):
            outcome = white(rng, 40, 28 + 42)
            arm = balanced_blocks(rng, 40, 6, 7)
            sold = with_effect(outcome[:, 28:], arm, 1.0, spill)
            levels = {"before": outcome[:, :28].mean(axis=1, keepdims=True), "own": sold.mean(axis=1, keepdims=True)}
            for level, mean in levels.items():
                for steady in (True, False):
                    check = carryover_test(
                        sold - mean,
                        arm,
                        points,
                        assumed_order=0,
                        longer_order=1,
                        rng=rng,
                        bootstraps=200,
                        steady=steady,
                    )
                    rejected.setdefault((spill, f"{level} {steady}"), []).append(check.verdict == "fail")
    for level in ("before", "own"):
        assert np.mean(rejected[0.0, f"{level} True"]) <= 0.07 + error(0.07, 150)
        assert np.mean(rejected[0.4, f"{level} True"]) > 0.9
    assert np.mean(rejected[0.4, "before True"]) > np.mean(rejected[0.4, "before False"])
    # a cluster's own mean contains the effect: the comparison of estimates needs another forecast
    assert np.mean(rejected[0.0, "own False"]) > 0.1


def test_less_the_other_draws_the_anticipation_test_keeps_its_size_where_a_clusters_own_mean_breaks_it() -> None:
    rng, points = np.random.default_rng(4), tuple(range(0, 42, 7))
    rejected: dict[str, list[bool]] = {"own": [], "others": [], "leaked": []}
    for _ in range(150):
        arm = balanced_blocks(rng, 40, 6, 7)
        value = with_effect(white(rng, 40, 42), arm, 1.0)
        leaked = value.copy()
        leaked[:, :-1] += arm[:, 1:]
        own = value - value.mean(axis=1, keepdims=True)
        for name, less in (
            ("own", own),
            ("others", less_other_draws(own, points)),
            ("leaked", less_other_draws(leaked, points)),
        ):
            check = non_anticipation_test(less, arm, points, lead=1, rng=rng, bootstraps=200)
            rejected[name].append(check.verdict == "fail")
    assert np.mean(rejected["own"]) > 0.1
    assert np.mean(rejected["others"]) <= 0.07 + error(0.07, 150)
    assert np.mean(rejected["leaked"]) > 0.8


def test_a_healthy_split_looked_at_a_thousand_times_raises_no_alarm() -> None:
    rng = np.random.default_rng(5)
    alarms = []
    for _ in range(300):
        treated = rng.binomial(100, 0.5, 1000)
        counts = np.cumsum(np.stack([100 - treated, treated], axis=1), axis=0)
        alarms.append(sequential_ratio_p(counts, np.array([0.5, 0.5]))[-1] < 0.01)
    assert np.mean(alarms) <= 0.01 + error(0.01, 300)


@pytest.mark.parametrize(
    ("effect", "jackknife"),
    [(burn_in_effect, burn_in_jackknife), (bias_corrected_effect, bias_corrected_jackknife)],
)
def test_jackknives_over_blocks_match_the_scatter_of_their_estimates(effect, jackknife) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(6)
    # 400 clusters of 40 blocks, each one an experiment of its own
    arm = np.repeat(rng.integers(0, 2, (400, 40)), 4, axis=1)
    blocks = block_means(with_effect(rng.standard_normal((400, 160)), arm, 1.0), arm, np.arange(160) // 4, 1)
    estimates, variances = effect(blocks), jackknife(blocks)
    assert np.mean(estimates) == pytest.approx(1.0, abs=4 * np.std(estimates) / 20)
    assert np.nanmean(variances) == pytest.approx(np.var(estimates), rel=0.3)  # 400 experiments: +- 7 %


@pytest.mark.slow
def test_the_calibration_command_writes_its_figures(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.randomised.calibration", "--scale", "0.005", "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).resolve().parents[3])
    figures = json.loads(target.read_text())
    assert {row["study"] for row in figures["rates"]} >= {"coverage", "ever-miss", "guardrail", "assumptions"}
    assert all(row["error"] >= 0.0 for row in figures["rates"])
    assert {row["figure"] for row in figures["rates"]} >= {"time-bound, naive z, normal outcomes"}
    assert figures["power"]["se"] == pytest.approx(12.91, abs=0.005)
