"""What the store keeps of closed days beside their rows, compared with what the panel says. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from controller.outcomes.silent_feeds import HISTORY_DAYS
from controller.outcomes.unsold_units import Part, unpacked
from streams.closing.unsold_restore import PanelDays
from streams.closing.unsold_units import read_events


def differing(
    days: PanelDays, market: str, last: int, revision_days: int, history: Mapping[str, str], unsold: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    """(subject, field, expected, found) where a store that has closed days up to ``last`` (ordinal) holds too little.

    A late sale is known to the store before its closing is out: what the store holds only moves upwards by it.
    """
    for day, events in days.history(market).items():
        there = history.get(day, "")
        if int(day) > last - HISTORY_DAYS and _total(there) < _total(events):
            yield _name(market, int(day)), "events by partition", events, there or "missing"
    for number in range(last - revision_days + 1, last + 1):
        said = days.parts(market, number)
        text = unsold.get(str(number))
        held = () if text is None else unpacked(text)
        if said is not None and [part.revision for part in held] < [part.revision for part in said]:
            yield _name(market, number), "unsold units", _parts(said), _parts(held)


def _name(market: str, day: int) -> str:
    return f"{market} {date.fromordinal(day)}"


def _parts(parts: Sequence[Part]) -> str:
    return ", ".join(f"part {number} of revision {part.revision}" for number, part in enumerate(parts)) or "missing"


def _total(events: str) -> int:
    """Sale events of a day; -1 for nothing."""
    return sum(read_events(events).values()) if events else -1
