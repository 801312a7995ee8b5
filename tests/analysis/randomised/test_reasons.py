"""Where no number can be given there is a reason instead."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.panel_data.eligibility import propensities
from analysis.randomised.contrasts import arm_contrast, stratified_difference
from analysis.randomised.forecast import adjust, fit_forecast
from analysis.randomised.intervals import t_interval, z_interval
from analysis.randomised.randomisation_test import randomization_test
from analysis.randomised.switchback import bias_corrected_effect, block_means, hajek, horvitz_thompson
from analysis.randomised.variance import (
    between_clusters,
    cluster_jackknife,
    cluster_linearised,
    optimal_points,
    u1,
    variance_any_schedule,
)
from analysis.sequential.block_differences import block_differences, mean_of_blocks
from analysis.sequential.confidence_sequences import confidence_sequence, expected_variance, sequence_of_entries
from controller.errors import NotEstimable

DAYS = np.arange(12)
RNG = np.random.default_rng(1)
NOISE = RNG.normal(size=(6, 12))
ARM = np.repeat(np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]] * 2), 3, axis=1)
ARM[3:] = 1 - ARM[3:]
DRAWS = np.stack([np.roll(ARM, shift, axis=0) for shift in range(6)] * 20)
CONSTANT = np.full((6, 12), 1e6 + 0.1)  # no double: its mean is rounded
GONE = np.full((6, 12), np.nan)

REASONS: dict[str, tuple[Callable[[], object], str]] = {
    "one cluster, jackknife": (lambda: cluster_jackknife(hajek(NOISE[:1], ARM[:1], 0)), "1 cluster with usable cells"),
    "one cluster, spread": (lambda: between_clusters(np.array([1.0])), "1 cluster with an effect"),
    "one cluster, t(G-2)": (lambda: t_interval(1.0, 1.0, clusters=1, method="t"), "1 cluster: .* at least 3"),
    "two clusters, t(G-2)": (lambda: t_interval(1.0, 1.0, clusters=2, method="t"), "2 clusters: .* at least 3"),
    "one cluster, blocks": (lambda: block_differences(NOISE[:1], ARM[:1], DAYS // 3), "two clusters or more"),
    "one cluster, difference": (lambda: stratified_difference(np.ones(1), np.array([True])), "no stratum has both"),
    "one pair": (lambda: stratified_difference(np.array([1.0, 2.0]), np.array([True, False])), "single stratum"),
    "one block, fixed horizon": (
        lambda: mean_of_blocks(block_differences(NOISE[:, :3], ARM[:, :3], DAYS[:3] // 3)),
        "one closed block",
    ),
    "one block, one cluster's coins": (
        lambda: variance_any_schedule(NOISE[:, :3], ARM[:, :3], (0,), 1),
        "a single draw per cluster",
    ),
    "one block, one cluster's arms": (lambda: hajek(NOISE[:1, :3], ARM[:1, :3], 0), "no usable cell under control"),
    "all washed out, Hajek": (lambda: hajek(NOISE, ARM, 11), "no usable cell under treatment"),
    "all washed out, blocks": (
        lambda: block_differences(NOISE, ARM, DAYS // 3, clean=np.zeros((6, 12), bool)),
        "all are missing, washed out or left out",
    ),
    "all washed out, burn-in": (lambda: block_means(NOISE, ARM, DAYS // 3, 3), "all of its days are washed out"),
    "all washed out, Horvitz-Thompson": (
        lambda: horvitz_thompson(NOISE, ARM, *propensities((0, 3, 6, 9), 12, 12), 12),
        "no observed period is left",
    ),
    "never held long enough, Horvitz-Thompson": (
        lambda: horvitz_thompson(NOISE, np.tile([1, 0], (6, 6)), *propensities(tuple(range(12)), 12, 1), 1),
        "no arm was held for 2 observed days",
    ),
    "all washed out, exact test": (lambda: randomization_test(NOISE, ARM, DRAWS, carryover_order=11), "no usable cell"),
    "all missing": (lambda: hajek(GONE, ARM, 0), "no usable cell under treatment"),
    "all missing, exact test": (lambda: randomization_test(GONE, ARM, DRAWS), "do not vary"),
    "constant, jackknife": (
        lambda: t_interval(0.0, cluster_jackknife(hajek(CONSTANT, ARM, 0)) ** 0.5, clusters=6, method="t"),
        "do not vary",
    ),
    "constant, linearised": (
        lambda: t_interval(0.0, cluster_linearised(hajek(CONSTANT, ARM, 0)) ** 0.5, clusters=6, method="t"),
        "do not vary",
    ),
    "constant, difference": (lambda: stratified_difference(CONSTANT[:, 0], ARM[:, 0] == 1), "do not vary"),
    "constant, entries": (
        lambda: sequence_of_entries(CONSTANT[0], np.arange(12), 12, planned_entries=12, planned_sd=1.0),
        "do not vary",
    ),
    "constant, blocks": (lambda: mean_of_blocks(block_differences(CONSTANT, ARM, DAYS // 3)), "do not vary"),
    "constant, sequence": (
        lambda: confidence_sequence(block_differences(CONSTANT, ARM, DAYS // 3), planned_variance=1.0),
        "do not vary",
    ),
    "four clusters, sequence": (
        lambda: confidence_sequence(
            block_differences(NOISE[[0, 1, 3, 4]], ARM[[0, 1, 3, 4]], DAYS // 3), planned_variance=1
        ),
        "at most 2 clusters in an arm",
    ),
    "constant, exact test": (lambda: randomization_test(CONSTANT, ARM, DRAWS), "do not vary"),
    "constant, U1 of centred outcomes": (
        lambda: z_interval(0.0, float(u1(CONSTANT[:1] * 0.0, ARM[:1], 0)[0]), clusters=1, method="U1"),
        "do not vary",
    ),
    "constant history": (lambda: confidence_sequence_planned(np.full((6, 12), 3.0)), "must be positive and finite"),
    "history too short": (lambda: expected_variance(NOISE[:, :3], 5, 10), "2 more are needed"),
    "schedule not the optimal one": (lambda: optimal_points(13, 2), "variance_any_schedule"),
    "unequal blocks": (
        lambda: bias_corrected_effect(
            block_means(NOISE, ARM, np.array([0] * 3 + [1] * 3 + [2] * 2 + [3] + [4] * 3), 0)
        ),
        "needs one length",
    ),
    "no history": (lambda: fit_forecast(GONE, DAYS % 7), "no unit has a day of history"),
    "a covariate is missing": (
        lambda: adjust(NOISE, np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]), np.ones(1)),
        "row 2 has no covariate",
    ),
    "a denominator of nothing": (
        lambda: arm_contrast(NOISE, np.zeros((6, 12)), (ARM == 1).astype(float), (ARM == 0).astype(float)),
        "sums to zero",
    ),
}


def confidence_sequence_planned(history: np.ndarray) -> object:
    planned = expected_variance(history, 3, 4)
    return confidence_sequence(block_differences(NOISE, ARM, DAYS // 3), planned_variance=planned)


@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_be_estimated_says_why(case: str) -> None:
    attempt, reason = REASONS[case]
    with pytest.raises(NotEstimable, match=reason):
        attempt()
