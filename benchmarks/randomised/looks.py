"""Experiments looked at after every block: does the interval ever miss, and what does looking cost?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from analysis.sequential.arm_sequences import sequence_of_arms
from analysis.sequential.block_differences import block_differences
from analysis.sequential.confidence_sequences import (
    Sequence,
    confidence_sequence,
    expected_variance,
    per_arm_sequence,
    sequence_of_entries,
    sequence_of_pairs,
)
from benchmarks.randomised.worlds import (
    World,
    ar1,
    balanced_blocks,
    heavy_tails,
    lognormal_ar1,
    white,
    with_effect,
)

EFFECT = 0.3


@dataclass(frozen=True, slots=True)
class Looks:
    """One experiment, looked at after every block: did the interval ever miss, and how wide is it at the horizon?"""

    missed: bool
    naive_missed: bool
    #: anytime half-width over 1.96 standard errors, at the planned horizon
    width: float


def naive_misses(differences: np.ndarray, effect: float) -> bool:
    """A t-interval on the differences so far, looked at from the second one on."""
    count = np.arange(1, len(differences) + 1)
    mean = np.cumsum(differences) / count
    squares = np.cumsum((differences - differences[0]) ** 2) - count * (mean - differences[0]) ** 2
    se = np.sqrt(np.maximum(squares[1:], 0.0) / (count[1:] - 1) / count[1:])
    return bool((np.abs(mean[1:] - effect) > stats.t.ppf(0.975, count[1:] - 1) * se).any())


def looks_at_blocks(
    world: World,
    clusters: int,
    *,
    blocks: int = 20,
    days: int = 4,
    washout: int = 1,
    spill: float = 0.0,
    misplanned: float = 1.0,
) -> Callable[[np.random.Generator], Looks]:
    """A balanced switchback of twenty blocks, looked at after each; the variance planned for may be wrong."""

    def run(rng: np.random.Generator) -> Looks:
        outcome = world(rng, clusters, 28 + blocks * days)
        pre, during = outcome[:, :28], outcome[:, 28:]
        arm = balanced_blocks(rng, clusters, blocks, days)
        level = pre.mean(axis=1, keepdims=True)
        value = with_effect(during, arm, EFFECT, spill) - level
        truth = EFFECT * (1.0 + spill)
        clean = np.broadcast_to(np.arange(blocks * days) % days >= washout, value.shape)
        found = block_differences(value, arm, np.repeat(np.arange(blocks), days), clean=clean)
        planned = misplanned * expected_variance(pre - level, days, blocks, washout=washout)
        return _looks(confidence_sequence(found, planned_variance=planned), found.difference, truth)

    return run


def _looks(sequence: Sequence, differences: np.ndarray, truth: float) -> Looks:
    missed = bool(((sequence.lower > truth) | (sequence.upper < truth)).any())
    half = (sequence.upper[-1] - sequence.lower[-1]) / 2.0
    width = half / (1.959964 * np.sqrt(sequence.variance[-1]) / sequence.count[-1])
    return Looks(missed, naive_misses(differences, truth), float(width))


def looks_with_late_sales(rng: np.random.Generator) -> Looks:
    """Each day's sales arrive over the four days that follow, treated buyers' later than control's; a look per block.

    The sequence waits for the watermark, the naive interval takes what has arrived.
    """
    clusters, blocks, days = 20, 20, 4
    outcome = 5.0 + white(rng, clusters, 28 + blocks * days)
    level = outcome[:, :28].mean(axis=1, keepdims=True)
    arm = balanced_blocks(rng, clusters, blocks, days)
    value = with_effect(outcome[:, 28:], arm, EFFECT)
    arrived = np.array([[0.7, 0.85, 0.95, 1.0], [0.6, 0.8, 0.9, 1.0]])  # share in hand after 0..3 days, by arm
    block = np.repeat(np.arange(blocks), days)
    planned = expected_variance(outcome[:, :28] - level, days, blocks)
    ripe = block_differences(value - level, arm, block)
    sequence = confidence_sequence(ripe, planned_variance=planned)
    naive = False
    for today in range(2 * days - 1, blocks * days, days):
        age = np.minimum(today - np.arange(today + 1), 3)
        in_hand = value[:, : today + 1] * arrived[arm[:, : today + 1], age[None]]
        seen = block_differences(in_hand - level, arm[:, : today + 1], block[: today + 1]).difference
        count = len(seen)
        se = seen.std(ddof=1) / np.sqrt(count)
        naive |= bool(abs(seen.mean() - EFFECT) > stats.t.ppf(0.975, count - 1) * se)
    watched = _looks(sequence, ripe.difference, EFFECT)
    return Looks(watched.missed, naive, watched.width)


def looks_at_entries(rng: np.random.Generator, *, by: str, delay: float = 1.0) -> Looks:
    """Triggered entry: 480 clusters enter one by one, arms tossed before; treated ones ripen later. A look per week."""
    entries, looks = 480, 20
    treated = rng.integers(0, 2, entries).astype(bool)
    outcome = rng.lognormal(0.0, 0.75, entries) + EFFECT * treated
    entered = np.sort(rng.uniform(0.0, looks - 2.0 - delay, entries))
    look = np.ceil(entered + np.where(treated, 1.0 + delay, 1.0) + rng.uniform(0.0, 0.5, entries)).astype(np.int64)
    order = np.argsort(look, kind="stable")
    outcome, treated, look = outcome[order], treated[order], look[order]
    ripe = [(outcome[rows], look[rows]) for rows in (treated, ~treated)]
    half = entries // 2
    if by == "pairs":
        sequence = sequence_of_pairs(ripe[0], ripe[1], looks, planned_pairs=half, planned_sd=1.7)
    elif by == "arms":
        sequence = sequence_of_arms(ripe[0], ripe[1], looks, planned_entries=(half, half), planned_sd=(1.2, 1.2))
    else:
        sequence = per_arm_sequence(
            *(sequence_of_entries(*arm, looks, planned_entries=half, planned_sd=1.2, alpha=0.025) for arm in ripe)
        )
    naive = False
    for today in range(looks):
        seen = look <= today
        ones, zeros = outcome[seen & treated], outcome[seen & ~treated]
        if len(ones) > 1 and len(zeros) > 1:
            se = np.sqrt(ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros))
            gap = abs(ones.mean() - zeros.mean() - EFFECT)
            naive |= bool(gap > stats.t.ppf(0.975, len(ones) + len(zeros) - 2) * se)
    missed = bool(((sequence.lower > EFFECT) | (sequence.upper < EFFECT)).any())
    se = np.sqrt(sum(values.var(ddof=1) / len(values) for values in (outcome[treated], outcome[~treated])))
    half = (sequence.upper[-1] - sequence.lower[-1]) / 2.0
    return Looks(missed, naive, float(half / (1.959964 * se)))


EVER_MISS: dict[str, Callable[[np.random.Generator], Looks]] = {
    "heavy tails, 20 clusters": looks_at_blocks(heavy_tails, 20),
    "AR(1) .9, lognormal, 20 clusters": looks_at_blocks(lognormal_ar1, 20),
    "carryover with washout, 20 clusters": looks_at_blocks(white, 20, spill=0.5),
    "6 clusters": looks_at_blocks(ar1, 6),
    "60 clusters": looks_at_blocks(ar1, 60),
    "late sales, behind the watermark": looks_with_late_sales,
    "staggered entry, both arms together": partial(looks_at_entries, by="arms"),
    "staggered entry, treated 6 looks late": partial(looks_at_entries, by="arms", delay=6.0),
    "staggered entry, ripe pairs": partial(looks_at_entries, by="pairs"),
    "staggered entry, one sequence per arm": partial(looks_at_entries, by="each"),
}

#: What a wrong plan costs: the mixing is tuned to a tenth, or to ten times, of what then comes
MISPLANNED: dict[str, Callable[[np.random.Generator], Looks]] = {
    f"{clusters} clusters, planned variance times {factor:g}": looks_at_blocks(ar1, clusters, misplanned=factor)
    for clusters in (6, 20)
    for factor in (0.1, 10.0)
}
