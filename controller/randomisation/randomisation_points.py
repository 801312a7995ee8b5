"""Randomisation points: on which days of a switchback to toss a coin, for carryover order m over T days.

Source: Bojinov, Simchi-Levi, Zhao, "Design and Analysis of Switchback Experiments", Management Science 69(7). Days are
counted from 1; day 1 is always a point. Worst-case risk is in units of B^2, the largest squared outcome.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: the search keeps 2^m histories
MOST_CARRYOVER = 12


def optimal_points(days: int, carryover_order: int) -> tuple[int, ...]:
    """The points of least worst-case risk: {1, 2m+1, 3m+1, ..., (n-2)m+1} for T = n m; every day for m = 0.

    Raises ValueError where the theorem does not speak (T no multiple of m, or fewer than four times m).
    """
    m = carryover_order
    if m == 0:
        return tuple(range(1, days + 1))
    n, rest = divmod(days, m)
    if rest or n < 4:
        raise ValueError(f"the optimum is published for n x m days with n of at least 4, here {days} days and m = {m}")
    return (1, *(k * m + 1 for k in range(2, n - 1)))


def risk(points: Sequence[int], days: int, carryover_order: int) -> float:
    """Exact worst-case risk of any points, in units of B^2.

    With o(t, t') the number of coins that the windows [t-m, t] and [t'-m, t'] share, it is
    ``1/(T-m)^2 sum_{t,t'=m+1..T} [o > 0] 2^(o+1)``. O((T-m)^2).
    """
    m = carryover_order
    coin = np.searchsorted(np.asarray(points), np.arange(1, days + 1), side="right")
    first, last = coin[: days - m], coin[m:]  # coins at t-m and at t, for t = m+1..T
    shared = np.minimum(last[:, None], last[None, :]) - np.maximum(first[:, None], first[None, :]) + 1
    terms = np.where(shared > 0, np.exp2(np.maximum(shared, 0) + 1), 0.0)
    return float(terms.sum() / (days - m) ** 2)


@dataclass(frozen=True, slots=True)
class Search:
    """Points found under constraints, with their risk."""

    points: tuple[int, ...]
    #: in units of B^2
    risk: float


def search(
    days: int,
    carryover_order: int,
    *,
    forbidden: Collection[int] = (),
    most_points: int | None = None,
    least_gap: int = 1,
) -> Search:
    """The points of least exact risk among all that keep the constraints. Exact, by dynamic programming.

    ``forbidden``: days that cannot be points (a calendar blackout, or all but one weekday: blocks of whole weeks);
    ``most_points``: a cap on coins, and so on price changes a unit (one fewer); ``least_gap``: shortest block.
    Raises ValueError where no points satisfy them, or m exceeds 12.

    The risk is a sum over pairs t <= t'. Those no more than m apart share one coin more than there are points in
    (t'-m, t], an interval of at most m days; those farther apart share the coin of the block that holds both t and
    t'-m, if one does. So the cost of a day depends on the last m days' points and on the last point alone.
    """
    m = carryover_order
    if not 0 <= m <= MOST_CARRYOVER:
        raise ValueError(f"carryover_order = {m}: the search handles 0 to {MOST_CARRYOVER}; assume a shorter carryover")
    if m >= days:
        raise ValueError(f"carryover_order = {m}: smaller than the number of days ({days}); run longer")
    if 1 in forbidden:
        raise ValueError("day 1 is always a randomisation point: start on another day")
    cap = days if most_points is None else most_points
    if cap < 1 or least_gap < 1:
        raise ValueError(f"most_points = {most_points}, least_gap = {least_gap}: both are at least 1")
    barred = frozenset(forbidden)
    # Without a cap, the number of points is no part of the state.
    counted = most_points is not None
    # state: (last point, points of the last m days as bits, number of points) -> (cost, chain of points)
    State = tuple[int, int, int]
    Chain = tuple[int, object]
    mask_of = (1 << m) - 1
    table: dict[State, tuple[int, Chain]] = {(1, 1 & mask_of, 1 if counted else 0): (0, (1, None))}
    table = {state: (_cost(1, state[0], state[1], days, m), chain) for state, (_, chain) in table.items()}
    for day in range(2, days + 1):
        following: dict[State, tuple[int, Chain]] = {}
        point_allowed = day not in barred
        for (last, bits, used), (cost, chain) in table.items():
            moved = (bits << 1) & mask_of
            options = [((last, moved, used), chain)]
            if point_allowed and day - last >= least_gap and used < cap:
                options.append(((day, (moved | 1) & mask_of, used + counted), (day, chain)))
            for state, longer in options:
                total = cost + _cost(day, state[0], state[1], days, m)
                known = following.get(state)
                if known is None or total < known[0]:
                    following[state] = (total, longer)
        table = following
    ending = [(cost, chain) for (last, _, _), (cost, chain) in table.items() if days + 1 - last >= least_gap]
    if not ending:
        raise ValueError(f"no points keep a shortest block of {least_gap} in {days} days; shorten it")
    cost, chain = min(ending, key=lambda found: found[0])
    points: list[int] = []
    link: object = chain
    while isinstance(link, tuple):
        points.append(link[0])
        link = link[1]
    return Search(tuple(reversed(points)), cost / (days - m) ** 2)


def _cost(day: int, last: int, bits: int, days: int, m: int) -> int:
    """What a day adds to the risk times (T-m)^2, given the last point and those of the last m days (bit 0: now)."""
    total = 0
    if day >= m + 1:  # pairs (t, t + d), t = day, d <= m: the points in (t + d - m, t]
        for distance in range(min(m, days - day) + 1):
            inside = (bits & ((1 << (m - distance)) - 1)).bit_count()
            total += (1 if distance == 0 else 2) << (2 + inside)
    if day <= days - m:  # pairs (s, day + m) farther than m apart, s in the same block as day
        total += 8 * max(0, day - max(last, m + 1))
    return total


def block_lengths(points: Sequence[int], days: int) -> tuple[int, ...]:
    """Days in each block."""
    return tuple(b - a for a, b in pairwise((*points, days + 1)))
