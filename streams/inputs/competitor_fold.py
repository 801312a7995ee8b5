"""Folding rivals' prices: what becomes of each record of a batch, before anything of it is written. Pure."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import TypeAdapter

from controller.decisions.triggers import Observation, RivalHistory, fired, follow
from controller.definition.experiment import Experiment
from controller.definition.field_types import instant_of
from controller.definition.parameters import Triggered, TriggerRule
from controller.errors import UnreadableMessage
from controller.messages.codec import READ_AT_ONCE, message_of, read_all
from controller.messages.control import TriggerFired
from controller.messages.inputs import CatalogEntry, CompetitorPrice, CompetitorPriceRow
from streams.kafka.dead_letters import Incoming, Rejected, unreadable
from streams.store import Registration

HISTORY = TypeAdapter(RivalHistory)
NOTHING_SEEN = RivalHistory()
#: competitors of one unit that a rule remembers
MOST_RIVALS = 100


@dataclass(frozen=True, slots=True)
class Watch:
    """A triggered experiment whose rule looks at rivals."""

    registration: Registration
    cluster_of: Mapping[str, str]

    @property
    def experiment(self) -> Experiment:
        return self.registration.experiment

    @property
    def rule(self) -> TriggerRule:
        design = self.experiment.design
        assert isinstance(design, Triggered)
        return design.rule

    @property
    def name(self) -> str:
        return self.experiment.plan_name


class Priced(NamedTuple):
    """A competitor's price that can be used, without the fields that are not needed any more."""

    unit: str
    competitor: str
    seen: Observation
    #: where the rival's history of the unit is kept; a unit has no ``|``
    history: str

    def event(self, currency: str) -> CompetitorPrice:
        """The message that it was read from."""
        at, identity, price = self.seen
        return CompetitorPrice(
            id=identity,
            unit=self.unit,
            competitor=self.competitor,
            observed_at=at,
            price_minor=price,
            currency=currency,
        )


#: watch -> unit|rival -> what its rule remembers
Histories = dict[str, dict[str, RivalHistory]]


def spelled(histories: Histories) -> dict[str, dict[str, str]]:
    """Histories as the store keeps them."""
    dump = HISTORY.dump_json
    return {watch: {name: dump(held).decode() for name, held in known.items()} for watch, known in histories.items()}


def readable(
    records: Sequence[Incoming], catalog: Mapping[str, CatalogEntry], latest_at: datetime | None
) -> tuple[list[Priced], list[Rejected]]:
    """The prices that can be used, and why the others cannot. ``latest_at``: no price may be observed after it."""
    found: list[Priced] = []
    rejected: list[Rejected] = []
    for first in range(0, len(records), READ_AT_ONCE):
        some = records[first : first + READ_AT_ONCE]
        rows = read_all(CompetitorPriceRow, [record.value for record in some])
        for place, record in enumerate(some):
            usual = None if rows is None else _usual(rows[place], catalog, latest_at)
            judged = usual or _judge(record, catalog, latest_at)
            if isinstance(judged, Priced):
                found.append(judged)
            else:
                rejected.append(judged)
    return found, rejected


def _usual(row: CompetitorPriceRow, catalog: Mapping[str, CatalogEntry], latest_at: datetime | None) -> Priced | None:
    """What `_judge` says of a price that is as they nearly always are; None for any other."""
    unit = row["unit"]
    entry = catalog.get(unit)
    if entry is None or row["currency"] != entry.currency:
        return None
    try:
        at = instant_of(row["observed_at"])
    except (ValueError, OverflowError):
        return None
    if latest_at is not None and at > latest_at:
        return None
    return _priced(unit, row["competitor"], Observation(at, row["id"], row["price_minor"]))


def _judge(record: Incoming, catalog: Mapping[str, CatalogEntry], latest_at: datetime | None) -> Priced | Rejected:
    event = message_of(record, CompetitorPrice)
    if isinstance(event, UnreadableMessage):
        return unreadable(record, event)
    entry = catalog.get(event.unit)
    if entry is None:
        return Rejected(record, "unknown-unit", f"{event.unit} is not in the catalog")
    if event.currency != entry.currency:
        reason = f"{event.unit} is priced in {entry.currency}, this rival's price is in {event.currency}"
        return Rejected(record, "currency", reason)
    if latest_at is not None and event.observed_at > latest_at:
        reason = f"observed at {event.observed_at}, which lies ahead of our clock; mend the clock of its source"
        return Rejected(record, "future", reason)
    return _priced(event.unit, event.competitor, Observation(event.observed_at, event.id, event.price_minor))


def _priced(unit: str, competitor: str, seen: Observation) -> Priced:
    return Priced(unit, competitor, seen, f"{unit}|{competitor}")


class Names:
    """Which rivals of which units one watch knows, each unit's up to a number: anybody may write a new name."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = set(known)
        self._of = Counter(name.partition("|")[0] for name in self._known)

    def admit(self, price: Priced) -> bool:
        """Whether there is room for the rival of a price; then it is known."""
        if price.history in self._known:
            return True
        if self._of[price.unit] >= MOST_RIVALS:
            return False
        self._known.add(price.history)
        self._of[price.unit] += 1
        return True


def too_many(records: Iterable[Incoming], gone: Container[str], catalog: Mapping[str, CatalogEntry]) -> list[Rejected]:
    """The records of rivals (unit|competitor) that there is no room for."""
    judged = ((record, _judge(record, catalog, None)) for record in records)
    return [
        Rejected(record, "competitors", f"{p.unit} has {MOST_RIVALS} competitors already; name them alike, or fewer")
        for record, p in judged
        if isinstance(p, Priced) and p.history in gone
    ]


def fold_rivals(
    prices: Iterable[Priced],
    watches: Sequence[Watch],
    histories: Mapping[str, Mapping[str, RivalHistory | None]],
    catalog: Mapping[str, CatalogEntry],
) -> tuple[Histories, list[TriggerFired]]:
    """The histories that prices have changed, folded in the order in which they were read, and what has fired.

    Pure. O(prices x experiments that watch the unit).
    """
    triggers: list[TriggerFired] = []
    changed: Histories = {}
    looking = []
    for watch in watches:
        known = changed[watch.name] = {}
        looking.append((watch.experiment, watch.rule, watch.cluster_of, histories.get(watch.name, {}), known))
    for price in prices:
        unit, _, seen, name = price
        for experiment, rule, cluster_of, stored, known in looking:
            cluster = cluster_of.get(unit)
            if cluster is None:
                continue
            entry, before = catalog[unit], known.get(name) or stored.get(name) or NOTHING_SEEN
            known[name], fires = follow(rule, before, seen, entry.list_price_minor)
            if fires:
                triggers.append(fired(experiment, cluster, price.event(entry.currency)))
    return {watch: known for watch, known in changed.items() if known}, triggers
