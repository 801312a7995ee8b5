"""Schedules that could have been drawn, thousands at once: what an exact test compares the drawn one with.

The rule is production's, in arrays: scores put a block's clusters in order, counts by systematic sampling deal the arms
along it. In production a score is a hash of names, so that anyone can recompute it; a redraw has no names to be
recomputed from, and asks of its scores only what a design's probabilities ask of the hashes: 64 bits, uniform,
independent. They are read from PCG64, started by the SHA-256 of a key; fed with the hashes, the same arrays give the
arms of `calendar` bit for bit (tests/controller/schedule/test_redraw.py).
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from controller.definition.experiment import Experiment
from controller.definition.parameters import BlockedSwitchback, RandomDays, TimeBound
from controller.designs import design_of
from controller.randomisation.hash_scores import HASH_RANGE
from controller.schedule.calendar import calendar

Arms = npt.NDArray[np.int8]
Scores = npt.NDArray[np.uint64]
#: scores worked on at once: half a megabyte
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Which draw decides each day of a design whose draws differ in nothing but their scores."""

    #: the block index under which each of F draws is made
    draws: tuple[int, ...]
    #: (T,) the draw of each day, as a place in ``draws``
    of_day: npt.NDArray[np.int64]
    #: (T,) weekday balance: which of the draw's turns a day has; None where a draw is not turned
    turn: npt.NDArray[np.int64] | None


def layout_of(experiment: Experiment) -> Layout | None:
    """None for designs that must be drawn one by one: strata, re-randomisation, phases, steps, entries."""
    design, balance = experiment.design, experiment.balance
    if not isinstance(design, RandomDays | BlockedSwitchback | TimeBound):
        return None
    if balance.strata is not None or balance.max_distance is not None:
        return None
    label = np.empty(experiment.days, dtype=np.int64)
    for k in range(experiment.days):
        block = design_of(experiment).block_on(experiment, experiment.start + timedelta(days=k))
        if block is None:
            return None
        label[k] = block.index
    turn = None
    if isinstance(design, RandomDays) and design.weekday_balance:
        week, weekday = np.divmod(label, 7)
        cycle, turn = np.divmod(week, len(experiment.arms))
        label = cycle * len(experiment.arms) * 7 + weekday
    draws, of_day = np.unique(label, return_inverse=True)
    return Layout(tuple(draws.tolist()), of_day, turn)


def redraws(experiment: Experiment, count: int, key: str) -> Arms:
    """(count, G, T) arms of schedules drawn anew, clusters sorted by name; the same whenever the key is the same.

    ``key`` must owe nothing to the outcomes, and need not be secret: the design hash does. O(count G T).
    """
    layout = layout_of(experiment)
    if layout is None:
        return np.stack(
            [calendar(experiment.model_copy(update={"seed": f"redraw-{key[:40]}-{k}"})).arms for k in range(count)]
        )
    clusters, levels = len(experiment.cluster_names()), len(experiment.arms)
    stream = np.random.PCG64(int.from_bytes(hashlib.sha256(f"redraw|{key}".encode()).digest()))
    found = np.empty((count, clusters, experiment.days), dtype=np.int8)
    for some in _chunks(count, len(layout.draws) * clusters):
        shape = (some.stop - some.start, len(layout.draws))
        scores, starts, turns = (_read(stream, (*shape, *more)) for more in ((clusters,), (), (levels,)))
        found[some] = arms_of(layout, scores, starts, turns, experiment.shares())
    return found


def arms_of(layout: Layout, scores: Scores, starts: Scores, turns: Scores, shares: Sequence[Fraction]) -> Arms:
    """(R, G, T) arms from R schedules' scores: (R, F, G) of clusters, (R, F) of counts, (R, F, arms) of turns."""
    count, draws, clusters = scores.shape
    dealt = deal_all(scores.reshape(-1, clusters), starts.ravel(), shares).reshape(count, draws, clusters)
    if layout.turn is None:
        return (dealt if draws == len(layout.of_day) else dealt[:, layout.of_day]).transpose(0, 2, 1)
    steps = np.argsort(turns, axis=2, kind="stable")[:, layout.of_day, layout.turn]
    turned = (dealt[:, layout.of_day] + steps[:, :, np.newaxis]) % len(shares)
    return turned.astype(np.int8).transpose(0, 2, 1)


def deal_all(scores: Scores, starts: Scores, shares: Sequence[Fraction]) -> Arms:
    """(n, G) arms of n draws, `assignment.deal` of each: (n, G) scores of clusters sorted by name, (n,) of counts."""
    clusters = scores.shape[1]
    upto = np.stack([_upto(clusters * sum(shares[: k + 1]), starts) for k in range(len(shares))], axis=1)
    dealt = np.diff(upto, axis=1, prepend=0)
    if len(shares) == 2:
        return _halves(scores, dealt[:, 1])
    # arms lie along the order from the last one to control
    ends = np.cumsum(dealt[:, ::-1], axis=1)
    place = np.arange(clusters)
    along = len(shares) - 1 - (place >= ends[:, :, np.newaxis]).sum(axis=1)
    arms = np.empty(scores.shape, dtype=np.int8)
    np.put_along_axis(arms, np.argsort(scores, axis=1, kind="stable"), along.astype(np.int8), axis=1)
    return arms


def _halves(scores: Scores, treated: npt.NDArray[np.int64]) -> Arms:
    """Two arms: the treated are those of the lowest scores, so that nothing has to be sorted."""
    numbers = np.unique(treated).tolist()
    if len(numbers) == 1:
        return _lowest(scores, numbers[0]).view(np.int8)
    arms = np.empty(scores.shape, dtype=np.int8)
    for number in numbers:
        rows = np.flatnonzero(treated == number)
        arms[rows] = _lowest(scores[rows], number)
    return arms


def _lowest(scores: Scores, number: int) -> npt.NDArray[np.bool_]:
    """(n, G) the clusters of the ``number`` lowest scores of each row; of equal ones those named first."""
    if number == 0:
        return np.zeros(scores.shape, dtype=np.bool_)
    below: npt.NDArray[np.bool_] = scores <= np.partition(scores, number - 1, axis=1)[:, number - 1 : number]
    for row in np.flatnonzero(np.count_nonzero(below, axis=1) > number):
        below[row] = False
        below[row, np.argsort(scores[row], kind="stable")[:number]] = True
    return below


def _upto(expected: Fraction, starts: Scores) -> npt.NDArray[np.int64]:
    """``floor(expected + start / 2^64)``, exactly."""
    whole = math.floor(expected)
    needed = math.ceil((1 - (expected - whole)) * HASH_RANGE)
    if needed >= HASH_RANGE:
        return np.full(len(starts), whole, dtype=np.int64)
    return whole + (starts >= np.uint64(needed)).astype(np.int64)


def _chunks(count: int, scores: int) -> Iterator[slice]:
    size = max(1, CHUNK // max(scores, 1))
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


def _read(stream: np.random.PCG64, shape: tuple[int, ...]) -> Scores:
    return np.asarray(stream.random_raw(math.prod(shape)), dtype=np.uint64).reshape(shape)
