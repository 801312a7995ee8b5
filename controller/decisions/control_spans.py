"""When control was asked for: what the log says of pauses, stops, kills and switches, market by market."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.decisions.lifecycle import PRICES
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.control import Kill, LifecycleChanged, SetAside

#: how long after a market was set aside its units may go back to control
RELEASED_WITHIN = timedelta(days=1)
ALWAYS = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Control was asked for over [since, until), in one market or in all of them (empty)."""

    market: str
    since: datetime
    until: datetime


class Orders:
    """The spans in which an experiment's units were to be on control before its end, and who asked for it."""

    def __init__(self, experiment: Experiment, log: Iterable[Message]) -> None:
        records = list(log)
        self.spans = (*_lifecycle(records), *_switches(experiment.name, records), *_set_aside(records))

    def at(self, market: str, instant: datetime) -> bool:
        """Whether control was asked for at an instant."""
        return self.within(market, instant, instant)

    def within(self, market: str, first: datetime, last: datetime) -> bool:
        """Whether it was at any instant of [first, last]."""
        return any(s.since <= last and first < s.until for s in self.spans if s.market in ("", market))

    def throughout(self, market: str, first: datetime, last: datetime) -> bool:
        """Whether one order held over all of [first, last]."""
        return any(s.since <= first and last < s.until for s in self.spans if s.market in ("", market))


def _lifecycle(records: Iterable[Message]) -> Iterable[Span]:
    """A state that shows control holds until one that shows the design: a pause until its end, a stop for good."""
    since: datetime | None = None
    changes = {r.id: r for r in records if isinstance(r, LifecycleChanged)}
    for change in sorted(changes.values(), key=lambda r: r.changed_at):
        shows_design = PRICES[change.to_state] == "design" or change.to_state == "scheduled"
        if not shows_design and since is None:
            since = change.changed_at
        elif shows_design and since is not None:
            yield Span("", since, change.changed_at)
            since = None
    if since is not None:
        yield Span("", since, ALWAYS)


def _switches(experiment: str, records: Iterable[Message]) -> Iterable[Span]:
    """Kill switches that hold the experiment, from the pull to the lifting of the same id."""
    on: dict[str, Kill] = {}
    kills = [r for r in records if isinstance(r, Kill) and (r.scope != "experiment" or r.name == experiment)]
    for kill in sorted(kills, key=lambda r: r.requested_at):
        if not kill.lifted:
            on.setdefault(kill.id, kill)
        elif kill.id in on:
            pulled = on.pop(kill.id)
            yield Span(pulled.name if pulled.scope == "market" else "", pulled.requested_at, kill.requested_at)
    for pulled in on.values():
        yield Span(pulled.name if pulled.scope == "market" else "", pulled.requested_at, ALWAYS)


def _set_aside(records: Iterable[Message]) -> Iterable[Span]:
    """A market that was set aside goes back to control; days without a decision meanwhile are reported as missed."""
    for record in records:
        if isinstance(record, SetAside):
            yield Span(record.market, record.set_aside_at, record.set_aside_at + RELEASED_WITHIN)
