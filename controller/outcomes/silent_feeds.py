"""Silence: whether units that sold nothing on a day sold nothing, or whether their feed was cut off.

A group of units shares a way to us: all units of a market, or those of one partition of the sale topic. A group without
a single sale is silent on a day on which it sells for certain, by its own history: its units are unknown then, and not
zero. Arms are no argument of anything here: what is left out cannot depend on them.
"""

from collections.abc import Collection, Mapping
from datetime import date

#: so many days of the same weekday are looked at, the latest first
SAME_WEEKDAYS = 8
#: with fewer of them than this the latest days of any weekday are looked at instead; with fewer of those as well the
#: group cannot be judged
ENOUGH_DAYS = 3
ANY_DAYS = 14
#: a day without a sale that is less likely than this is no day without a sale
SILENT_BELOW = 1e-4
#: days for which the events of a market are kept: eight weeks and what a silence or a holiday may take out of them
HISTORY_DAYS = 60

#: partition of the sale topic -> its sale events of a day; partitions that were silent, closed or without units are
#: absent
Events = Mapping[int, int]


def probability_of_none(days: int, events: int) -> float:
    """The chance that a day has no sale, after ``events`` sales in ``days`` like days: (n/(n+1))^(S + 1/2).

    The predictive distribution of a Poisson count whose rate has the Jeffreys prior Gamma(1/2, 0): after S events in n
    days the rate is Gamma(S + 1/2, n), and the next count negative binomial. ``days`` is positive.
    """
    return float((days / (days + 1)) ** (events + 0.5))


def likeness(history: Mapping[date, int], day: date) -> list[int] | None:
    """Events of the days that a day is judged by; None where there are too few.

    ``history``: earlier days on which the group was neither silent nor closed, and their events.
    """
    before = sorted((past for past in history if past < day), reverse=True)
    same = [past for past in before if past.weekday() == day.weekday()][:SAME_WEEKDAYS]
    judged_by = same if len(same) >= ENOUGH_DAYS else before[:ANY_DAYS]
    return [history[past] for past in judged_by] if len(judged_by) >= ENOUGH_DAYS else None


def sells_for_certain(history: Mapping[date, int], day: date) -> bool | None:
    """Whether a day without a sale is next to impossible for a group; None where its history is too short to tell."""
    like = likeness(history, day)
    return None if like is None else probability_of_none(len(like), sum(like)) < SILENT_BELOW


def silent_partitions(
    history: Mapping[date, Events], day: date, events: Events, partitions: Collection[int]
) -> frozenset[int]:
    """The partitions of a market that were silent on a day; all of them where the market was.

    ``history``: the market's earlier days. ``events``: of the day, at least for partitions with a sale.
    ``partitions``: those that have listed units. A market whose history is too short to tell, and that sold nothing, is
    silent: nothing shows that its feed lives. A partition whose history is too short is not, because the market lives.
    """
    if not sum(events.values()):
        of_market = {past: sum(found.values()) for past, found in history.items() if found}
        if sells_for_certain(of_market, day) is not False:
            return frozenset(partitions)
    quiet = [partition for partition in partitions if not events.get(partition, 0)]
    return frozenset(p for p in quiet if sells_for_certain(_of_partition(history, p), day))


def _of_partition(history: Mapping[date, Events], partition: int) -> dict[date, int]:
    return {past: found[partition] for past, found in history.items() if partition in found}
