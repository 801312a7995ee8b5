"""What the panel says of listings, silence and unsold units: written back to a shard whose store has lost it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from controller.definition.field_types import market_of, product_of
from controller.errors import UnreadableMessage
from controller.messages.checkpoints import Checkpoint
from controller.messages.codec import read_many
from controller.messages.events import PeriodClosed, UnsoldUnits
from controller.outcomes.listing import WholeDays, spelled
from controller.outcomes.unsold_units import Part, packed, part_of, unpacked
from streams.closing.unsold_units import spelled_events
from streams.store import NOTE_KINDS, NoteKind
from streams.worker.services import Parts

#: parts of a market's day: at some thousand units a part, more than any market has
MOST_PARTS = 10_000

#: market and day (ordinal)
Place = tuple[str, int]


@dataclass(slots=True)
class PanelDays:
    """Closed days as they were read, in any order."""

    #: part -> its records: those of most days nobody asks for
    raw: dict[Place, dict[int, list[bytes]]] = field(default_factory=dict)
    #: revision and events by partition of the last closing; None of one from before zeros were
    closings: dict[Place, tuple[int, Mapping[int, int] | None]] = field(default_factory=dict)

    def take_unsold(self, key: bytes, value: bytes) -> bool:
        """Keep a record of unsold units as it is; False for a key of another form, which no worker wrote."""
        try:
            market, day, _, part = key.decode().split("/")
            place, number = (market, date.fromisoformat(day).toordinal()), int(part)
        except ValueError:
            return False
        if number not in range(MOST_PARTS):
            return False
        self.raw.setdefault(place, {}).setdefault(number, []).append(value)
        return True

    def take_closing(self, closing: PeriodClosed) -> None:
        """A closing; the one with the highest revision holds."""
        place = closing.market, closing.day.toordinal()
        revision, _ = self.closings.get(place, (-1, None))
        if closing.revision >= revision:
            events = {int(partition): count for partition, count in closing.partition_events.items()}
            self.closings[place] = closing.revision, None if closing.zeros is None else events

    def parts(self, market: str, day: int) -> tuple[Part, ...] | None:
        """The unsold units of a day, part by part; None where no readable record names them.

        A record that cannot be read, or that its key does not name, was written by no worker: it is passed over.
        """
        last: dict[int, UnsoldUnits] = {}
        for part, records in self.raw.get((market, day), {}).items():
            for record in read_many(UnsoldUnits, records):
                if isinstance(record, UnreadableMessage) or _place(record) != (market, day, part):
                    continue
                if part not in last or record.revision > last[part].revision:
                    last[part] = record
        if not last:
            return None
        return tuple(part_of(last[part]) if part in last else Part() for part in range(max(last) + 1))

    def history(self, market: str) -> dict[str, str]:
        """Day (ordinal) -> events by partition, as the store keeps them."""
        return {
            str(day): spelled_events(events)
            for (there, day), (_, events) in self.closings.items()
            if there == market and events is not None
        }


def _place(record: UnsoldUnits) -> tuple[str, int, int]:
    return record.market, record.day.toordinal(), record.part


async def restore_notes(
    parts: Parts,
    shard: int,
    epoch: int,
    days: PanelDays,
    closed: Mapping[str, int],
    rows: Iterable[tuple[str, int]],
    summed: Checkpoint | None,
) -> None:
    """Write back what is kept of each market; raises Fenced.

    ``closed``: the shard's markets and their last closed days. ``rows``: units and days (ordinal) with a row.
    A unit that the last closed day knows was listed on it, and is by the catalog's word until it is delisted: when it
    was listed first does not matter for the days to come.
    """
    sold: dict[str, set[str]] = {}
    for unit, day in rows:
        market = market_of(unit)
        if closed.get(market) == day:
            sold.setdefault(market, set()).add(product_of(unit))
    for market, last in closed.items():
        there = {kind: await parts.store.notes(shard, kind, market) for kind in NOTE_KINDS}
        changes: dict[NoteKind, dict[str, str | None]] = {kind: {} for kind in NOTE_KINDS}
        known = days.parts(market, last) or ()
        listed = sold.get(market, set()).union(*(part.products() for part in known))
        changes["listing"] = dict.fromkeys(sorted(listed), spelled(WholeDays(last)))
        if summed is not None:
            changes["listing"] |= summed.listing.get(market, {})
            changes["history"] |= summed.history.get(market, {})
        changes["listing"] = {name: text for name, text in changes["listing"].items() if name not in there["listing"]}
        changes["history"] |= days.history(market)
        for day in range(last - parts.settings.revision_days + 1, last + 1):
            found = days.parts(market, day)
            held = there["unsold"].get(str(day))
            if found is not None and (held is None or _revision(found) > _revision(unpacked(held))):
                changes["unsold"][str(day)] = packed(found)
        changes = {
            kind: {name: text for name, text in fields.items() if there[kind].get(name) != text}
            for kind, fields in changes.items()
        }
        if any(changes.values()):
            await parts.store.note(shard, epoch, market, changes)


def _revision(found: Iterable[Part]) -> int:
    return max((part.revision for part in found), default=-1)
