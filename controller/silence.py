"""Which unit-days without a sale are zeros: a shop that sold nothing is told from a feed that delivered nothing. Pure.

A group of units that sells for certain and sold nothing at all on a day was not delivered: its unit-days are missing.
Groups are the units of a market and, within it, those of each partition of the sale topic, which may be cut off alone.
Whether a group sells for certain is judged by its own earlier days; arms are no argument of anything here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.events import MissingReason

#: a group sells for certain on a day on which it would sell nothing with less than this probability
CERTAIN = 1e-4
#: it is judged by so many days of the same weekday at most, or, where there are fewer than FEWEST, of any weekday
SAME_WEEKDAYS, ANY_WEEKDAYS, FEWEST = 8, 14, 3
#: local days for which counts are kept
DAYS_KEPT = 7 * SAME_WEEKDAYS

#: partition of the sale topic -> its sale events of a day; a partition that was silent or closed is absent
EventCounts = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Unsold:
    """The listed units of a market and day that have no sale, in the order of their names."""

    zeros: tuple[str, ...]
    #: reason -> units
    missing: Mapping[MissingReason, tuple[str, ...]]
    #: by partition, the sale events of every group that counts as history for later days
    counts: EventCounts

    def reason_of(self) -> dict[str, MissingReason]:
        """Unit -> why nothing is known of it."""
        return {unit: why for why, units in self.missing.items() for unit in units}


def no_sale_probability(events: Sequence[int]) -> float:
    """Chance of a day without a sale after days with so many sale events: a Poisson whose rate has Jeffreys' prior.

    With S events over n days the predictive probability of none is ``(n / (n + 1)) ** (S + 1/2)``.
    """
    days = len(events)
    return float((days / (days + 1)) ** (sum(events) + 0.5))


def sells_for_certain(day: int, counts: Mapping[int, int]) -> bool | None:
    """Whether a group would have sold something on a day (ordinal), by its events on earlier days; None: unknown."""
    same = [counts[d] for d in range(day - 7, day - DAYS_KEPT - 1, -7) if d in counts]
    chosen = same[:SAME_WEEKDAYS]
    if len(chosen) < FEWEST:
        chosen = [counts[d] for d in range(day - 1, day - DAYS_KEPT - 1, -1) if d in counts][:ANY_WEEKDAYS]
    if len(chosen) < FEWEST:
        return None
    return no_sale_probability(chosen) < CERTAIN


def unsold(
    day: int,
    listed: Iterable[str],
    events: Mapping[int, int],
    closed: Collection[str],
    homes: Mapping[str, int],
    history: Mapping[int, EventCounts],
) -> Unsold:
    """What becomes of the units that were listed for a whole day and have no sale on it.

    Args:
        day: ordinal of the local day.
        listed: units without a sale, listed for the whole day.
        events: sale events of the day by partition, where there were any.
        closed: those of the units that could not be bought.
        homes: unit -> partition of the sale topic, for all units of the market that are listed.
        history: earlier day -> its counts.
    """
    units = sorted(listed)
    open_homes = {homes[unit] for unit in units if unit not in closed} | set(events)
    total = {d: sum(counts.values()) for d, counts in history.items() if counts}
    if any(events.values()):
        silent = {
            home
            for home in open_homes
            if not events.get(home)
            and sells_for_certain(day, {d: counts[home] for d, counts in history.items() if home in counts})
        }
    elif sells_for_certain(day, total) is False:
        silent = set[int]()
    else:
        silent = open_homes
    zeros, missing = list[str](), dict[MissingReason, list[str]]()
    for unit in units:
        if unit in closed:
            missing.setdefault("closed", []).append(unit)
        elif homes[unit] in silent:
            missing.setdefault("feed_silent", []).append(unit)
        else:
            zeros.append(unit)
    counts = {home: events.get(home, 0) for home in sorted(open_homes - silent)}
    return Unsold(tuple(zeros), {why: tuple(found) for why, found in sorted(missing.items())}, counts)


def revised(
    day: int,
    before: Unsold,
    events: Mapping[int, int],
    rows: Collection[str],
    homes: Mapping[str, int],
    history: Mapping[int, EventCounts],
) -> Unsold:
    """The same once sales have come late: a group that has sold something after all was not silent.

    ``rows``: units that have a row by now. A zero stays a zero; a closed unit without a row stays closed.
    """
    silent = [unit for unit in before.missing.get("feed_silent", ()) if unit not in rows]
    judged = unsold(day, silent, events, (), homes, history)
    zeros = sorted({*(unit for unit in before.zeros if unit not in rows), *judged.zeros})
    missing: dict[MissingReason, tuple[str, ...]] = {
        "feed_silent": judged.missing.get("feed_silent", ()),
        "closed": tuple(unit for unit in before.missing.get("closed", ()) if unit not in rows),
    }
    counts = {**before.counts, **judged.counts, **{home: number for home, number in events.items() if number}}
    return Unsold(tuple(zeros), {why: units for why, units in sorted(missing.items()) if units}, counts)


@dataclass(frozen=True, slots=True)
class Listing:
    """From which local day to which a unit was listed for the whole day, as ordinals; ``last`` is None while it is."""

    first: int
    last: int | None = None

    def covers(self, day: int) -> bool:
        """Whether the unit was listed for the whole of a day."""
        return self.first <= day and (self.last is None or day <= self.last)
