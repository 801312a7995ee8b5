"""Errors that nobody foresaw, planted where a named function meets one market: in adapters around the product's own.

A strike bites when a double of a port, or of a value that a port hands out, is touched for its market while its
function is on the stack. The product's code is as it ships.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from controller.messages.codec import Record
from streams.worker.services import Parts

M = TypeVar("M")
#: the market that is struck
STRUCK = "m0"


class Planted(ZeroDivisionError):
    """What nobody foresaw."""


@dataclass(slots=True)
class Strike:
    """An error in one function, for one market."""

    #: module:function; empty for none
    place: str = ""
    #: of a call of a port, which one; empty for any
    call: str = ""
    market: str = STRUCK
    times: int = 0

    def touch(self, call: str = "") -> None:
        """Raise, if the function is on the stack."""
        if not self.place or (self.call and self.call != call):
            return
        module, _, function = self.place.partition(":")
        frame = sys._getframe(1)
        here: Any = frame
        while here is not None:
            if here.f_code.co_name == function and here.f_globals.get("__name__") == module:
                self.times += 1
                raise Planted(f"planted in {self.place}")
            here = here.f_back

    def mentions(self, said: object) -> bool:
        """Whether what a port is asked is about the market."""
        text = repr(said)
        return f"{self.market}/" in text or f"'{self.market}'" in text or f"/{self.market}" in text


class BitingMap(dict[str, Any]):
    """By unit or market: bites where that of the struck market is asked for."""

    strike: Strike

    def _look(self, key: object) -> None:
        if str(key).partition("/")[0] == self.strike.market:
            self.strike.touch("map")

    def __getitem__(self, key: str) -> Any:
        self._look(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._look(key)
        return super().get(key, default)


def biting_map(found: Mapping[str, Any], strike: Strike) -> BitingMap:
    """The same, all of whose values of the struck market bite too."""
    made = BitingMap({k: biting(v, strike) if k.partition("/")[0] == strike.market else v for k, v in found.items()})
    made.strike = strike
    return made


def biting(value: M, strike: Strike) -> M:
    """A value that bites where any of its fields is read."""
    kind: Any = type(value)
    if isinstance(value, tuple | str):
        return value

    def read(self: object, name: str) -> Any:
        if not name.startswith("__"):
            strike.touch("value")
        return kind.__getattribute__(self, name)

    made: Any = type(f"Biting{kind.__name__}", (kind,), {"__getattribute__": read, "__module__": __name__})
    fields = getattr(value, "__dict__", None)
    new: M = made.__new__(made)
    if hasattr(kind, "model_construct"):
        new = made.model_construct(**{name: getattr(value, name) for name in kind.model_fields})
        return new
    for name in fields if fields is not None else kind.__slots__:
        object.__setattr__(new, name, getattr(value, name))
    return new


class BitingHeader(dict[str, Any]):
    """The header of an outbox entry."""

    strike: Strike

    def __getitem__(self, key: str) -> Any:
        self.strike.touch("value")
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.strike.touch("value")
        return super().get(key, default)


class BitingPort:
    """A store, or a port of one: every call that is about the struck market bites."""

    def __init__(self, port: Any, strike: Strike, experiment: str = "local") -> None:
        self._port = port
        self._strike = strike
        #: of the struck market alone: its definition bites
        self._experiment = experiment

    @property
    def triggers(self) -> "BitingPort":
        return BitingPort(self._port.triggers, self._strike)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        async def call(*given: Any, **more: Any) -> Any:
            if self._strike.mentions((given, more)):
                self._strike.touch(name)
            return await found(*given, **more)

        return call

    async def registrations(self, shard: int) -> Any:
        version, found = await self._port.registrations(shard)
        mine = found.get(self._experiment)
        if mine is not None:
            found = found | {self._experiment: replace(mine, experiment=biting(mine.experiment, self._strike))}
        return version, found

    async def outbox(self, shard: int, limit: int) -> Any:
        entries = []
        for entry in await self._port.outbox(shard, limit):
            if entry.granted and entry.header["market"] == self._strike.market:
                header = BitingHeader(entry.header)
                header.strike = self._strike
                entry = replace(entry, header=header)
            entries.append(entry)
        return entries


class BitingParts(Parts):
    """Parts that cannot publish what is the struck market's while its function is on the stack."""

    strike: Strike

    async def publish(self, topic: str, records: Iterable[Record]) -> None:
        waiting = list(records)
        if any((record.key or b"").startswith(f"{self.strike.market}/".encode()) for record in waiting):
            self.strike.touch("publish")
        await super().publish(topic, waiting)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is planted, and what is set aside by it."""

    where: str
    kind: str
    call: str = ""

    @property
    def name(self) -> str:
        return f"{self.where} ({self.call})" if self.call else self.where


def _places(kind: str, found: Iterable[str]) -> Iterator[Place]:
    for line in found:
        where, _, call = line.partition(" ")
        yield Place(where, kind, call)


#: of a record, of a market in one of the worker's duties, of the analysis
PLACES: tuple[Place, ...] = (
    *_places("record", (
        "streams.inputs.sales:judge",
        "streams.inputs.sales:_judge_rows",
        "streams.inputs.sales:_settle",
        "streams.inputs.sales:turn_to",
        "streams.inputs.consumer:_fold_once fold_sales",
        "streams.inputs.competitor_fold:readable",
        "streams.inputs.competitor_fold:fold_rivals",
        "streams.inputs.competitor_prices:_recall histories",
        "streams.flips.trigger_answers:_answer enrol",
    )),
    *_places("deciding", (
        "controller.decisions.roster:roster",
        "controller.decisions.decide:_flip",
        "controller.decisions.decide:prices",
        "controller.schedule.due:due",
        "controller.decisions.limits:keep_within",
        "controller.decisions.lifecycle:lived",
        "streams.flips.decider:one",
        "streams.flips.price_safety:as_declared",
        "streams.flips.price_safety:safe past_prices",
        "streams.flips.decider:_flip_all flip_all",
        "streams.flips.control_at_once:put_on_control flip",
        "streams.flips.control_at_once:put_on_control map",
        "streams.flips.intraday_entries:begin flip_all",
    )),
    *_places("closing", (
        "streams.closing.day_close:_shut shut",
        "streams.closing.day_close:close dirty",
        "streams.closing.day_close:_closings unit_days",
        "streams.closing.day_close:_row",
        "streams.closing.day_close:close publish",
        "streams.closing.day_close:close cleaned",
        "streams.closing.day_close:close set_closed",
        "streams.closing.unsold_units:_of notes",
        "streams.closing.unsold_units:_follow_catalog",
        "streams.closing.unsold_units:_found",
        "streams.closing.unsold_units:keep note",
    )),
    *_places("relay", (
        "streams.outputs.late_assignments:announced_ahead",
        "streams.outputs.late_assignments:overdue",
        "streams.store.outbox_invariants:broken",
        "streams.outputs.outbox_relay:_look",
        "streams.outputs.outbox_relay:_spelled",
        "streams.outputs.outbox_relay:assignments",
        "streams.outputs.outbox_relay:assignment_records",
        "streams.outputs.outbox_relay:_skew",
    )),
    *_places("analysis", (
        "analysis.panel_data.ledger:_sold",
        "analysis.panel_data.ledger:_assigned",
        "analysis.panel_data.ledger:_closed",
        "analysis.panel_data.ledger:horizon",
        "analysis.panel_data.ledger:standing",
        "analysis.panel_data.day_sheets:_settled",
        "analysis.panel_data.settlement:settled",
        "analysis.worker.analyse:job_of",
        "analysis.worker.analyse:estimates",
        "analysis.worker.analyse:_sequences",
        "analysis.sequential.interim_analyses:plans_of",
        "analysis.sequential.running_sequences:sequence_of",
        "analysis.checks.health:health",
    )),
)  # fmt: skip
