"""Shops that calibration is done in: outcomes whose true effect is known, and schedules of exact halves."""

from collections.abc import Callable

import numpy as np

from analysis.panel_data.panel import FloatArray, IntArray
from analysis.randomised.relative_effect import Effect
from controller.messages.events import EffectEstimate

#: (rng, clusters, days) -> (clusters, days) outcomes under control
World = Callable[[np.random.Generator, int, int], FloatArray]


def balanced_blocks(rng: np.random.Generator, clusters: int, blocks: int, days: int) -> IntArray:
    """(G, blocks x days) arms: exactly half of the clusters treated in each block, blocks drawn independently."""
    halves = np.arange(clusters) >= clusters - clusters // 2
    drawn = rng.permuted(np.tile(halves, (blocks, 1)), axis=1).T
    return np.repeat(drawn.astype(np.int64), days, axis=1)


def ar1(rng: np.random.Generator, clusters: int, days: int, correlation: float = 0.9) -> FloatArray:
    """Stationary normal AR(1) around a level of each cluster, standard deviation 1 each."""
    noise = rng.standard_normal((clusters, days))
    path = np.empty_like(noise)
    path[:, 0] = noise[:, 0]
    fresh = np.sqrt(1.0 - correlation**2)
    for day in range(1, days):
        path[:, day] = correlation * path[:, day - 1] + fresh * noise[:, day]
    return path + rng.standard_normal((clusters, 1))


def lognormal_ar1(rng: np.random.Generator, clusters: int, days: int) -> FloatArray:
    """``exp`` of half an AR(1) of correlation .9: skewed, sticky sales around skewed levels."""
    return np.asarray(np.exp(0.5 * ar1(rng, clusters, days)))


def heavy_tails(rng: np.random.Generator, clusters: int, days: int) -> FloatArray:
    """Student's t on 2.5 degrees of freedom a day: a variance that exists, a fourth moment that does not."""
    return rng.standard_t(2.5, (clusters, days)) + rng.standard_normal((clusters, 1))


def white(rng: np.random.Generator, clusters: int, days: int) -> FloatArray:
    """Normal days around normal levels, with a shock that all clusters share."""
    return (
        rng.standard_normal((clusters, days))
        + rng.standard_normal((clusters, 1))
        + 0.5 * rng.standard_normal((1, days))
    )


def with_effect(outcome: FloatArray, arm: IntArray, effect: float, spill: float = 0.0) -> FloatArray:
    """Outcomes under the arms: ``effect`` on the day, and ``spill`` of it again on the day after."""
    treated = (arm == 1).astype(np.float64)
    result: FloatArray = outcome + effect * treated
    result[:, 1:] += spill * effect * treated[:, :-1]
    return result


def interval(found: Effect | EffectEstimate) -> tuple[float, float]:
    """Both ends of an effect's interval, which must have them."""
    assert found.ci_low is not None, "the interval is not bounded"
    assert found.ci_high is not None, "the interval is not bounded"
    return found.ci_low, found.ci_high
