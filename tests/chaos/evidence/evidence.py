"""What a run leaves behind, as plain values: the only thing that the rules look at. Knows nothing of the product."""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.chaos.shop.pace import Pace

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Look:
    """What one client showed for every unit at one instant of the shop."""

    client: str
    life: int
    #: milliseconds of the shop
    t: int
    #: real seconds at which it was asked
    real: float
    #: by unit in the order of `Evidence.units`; None is control
    arms: tuple[str | None, ...]
    #: one letter a unit: assigned, lapsed, announced, released, unknown; ``-`` for loading
    why: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of a topic; ``real`` is the broker's clock when it was appended."""

    partition: int
    offset: int
    real: float
    key: str | None
    #: CloudEvents type, empty where there is none
    kind: str
    #: the JSON object, or None where it is none
    body: Mapping[str, Any] | None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> Mapping[str, Any]:
        """The JSON object of a record that must have one."""
        assert self.body is not None
        return self.body


@dataclass(frozen=True, slots=True)
class Window:
    """A blackout, and the real instant from which on it was known to bind."""

    id: str
    kind: str
    name: str
    starts: int
    ends: int
    told: float

    def covers(self, unit: str) -> bool:
        wanted = {"global": "", "market": unit.split("/")[0], "unit": unit, "cluster": unit}[self.kind]
        return wanted == self.name


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to the system."""

    what: str
    target: str
    began: float
    ended: float
    #: how long it was meant to last, in leases of a worker; 0 where that says nothing
    leases: float = 0.0


@dataclass(frozen=True, slots=True)
class Write:
    """A command that Redis carried out on a shard: ``claim`` (its epoch was set) or ``outbox`` (a decision)."""

    shard: int
    what: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the rules may look at."""

    pace: Pace
    partitions: int
    #: of the registered experiment: name, seed, arms, start, days, lead_minutes
    experiment: Mapping[str, Any]
    #: market -> time zone
    zones: Mapping[str, str]
    units: tuple[str, ...]
    #: [from, until) in milliseconds of the shop: boundaries in it are judged
    judged: tuple[int, int]
    #: what was still under way long after the last fault; empty where the system came to rest
    unrest: str = ""
    looks: Sequence[Look] = ()
    log: Sequence[Entry] = ()
    assignments: Sequence[Entry] = ()
    ticks: Sequence[Entry] = ()
    sales: Sequence[Entry] = ()
    panel: Sequence[Entry] = ()
    dead_letters: Sequence[Entry] = ()
    windows: Sequence[Window] = ()
    faults: Sequence[Fault] = ()
    writes: Sequence[Write] = ()
    #: what was wrong, and seconds, of each rebuild that a worker told of
    rebuilds: Sequence[tuple[str, float]] = ()
    #: what Redis holds: (unit, ordinal of the day) -> (quantity, events)
    cells: Mapping[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    #: market -> the last day (ordinal) of which Redis has let everything go
    sealed: Mapping[str, int] = field(default_factory=dict)
    #: unit -> (arm, epoch, sequence)
    states: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)

    @property
    def control(self) -> str:
        return str(self.experiment["arms"][0]["name"])

    def days(self) -> list[date]:
        """The days of the experiment."""
        start = date.fromisoformat(self.experiment["start"])
        return [start + timedelta(days=k) for k in range(self.experiment["days"])]

    def midnight(self, market: str, day: date) -> int:
        """First instant of a market's day, in milliseconds; for zones whose midnights exist."""
        return first_instant(day, self.zones[market])

    def day_of(self, market: str, t: int) -> date:
        return local_day(t, self.zones[market])

    def planned(self) -> list[tuple[str, date, int]]:
        """(market, day, midnight) of every day that began while we looked."""
        first, last = self.judged
        found = [(market, day, self.midnight(market, day)) for market in sorted(self.zones) for day in self.days()]
        return [row for row in found if first <= row[2] < last]


@lru_cache(maxsize=4096)
def first_instant(day: date, zone: str) -> int:
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return round(local.timestamp() * 1000)


def local_day(t: int, zone: str) -> date:
    """The date in a zone at an instant."""
    return (EPOCH + timedelta(milliseconds=t)).astimezone(ZoneInfo(zone)).date()


def instant(text: str) -> int:
    """Milliseconds since 1970 of an instant as it is spelled in messages."""
    return round((datetime.fromisoformat(text) - EPOCH) / timedelta(milliseconds=1))


def of_kind(entries: Iterable[Entry], kind: str) -> list[Entry]:
    """Those of one message, such as ``assignment``, that are not void."""
    return [entry for entry in all_of_kind(entries, kind) if entry.real < announce_by(entry)]


def all_of_kind(entries: Iterable[Entry], kind: str) -> list[Entry]:
    return [entry for entry in entries if entry.kind == f"flipside.{kind}.v1"]


def announce_by(entry: Entry) -> float:
    """The instant by the brokers' clock at which a record is void unless they have it; for ever where it says none."""
    said = entry.headers.get("ce_announceby")
    return float("inf") if said is None else instant(said) / 1000


# --- to a file and back -----------------------------------------------------------------------------------------------


def save(evidence: Evidence, path: Path) -> None:
    body = asdict(evidence)
    body["cells"] = [[unit, day, *held] for (unit, day), held in evidence.cells.items()]
    with gzip.open(path, "wt") as file:
        json.dump(body, file)


def load(path: Path) -> Evidence:
    with gzip.open(path, "rt") as file:
        body = json.load(file)
    looks = [Look(**(look | {"arms": tuple(look["arms"])})) for look in body["looks"]]
    topics = ("log", "assignments", "ticks", "sales", "panel", "dead_letters")
    return Evidence(
        **(
            body
            | {name: [Entry(**entry) for entry in body[name]] for name in topics}
            | {
                "pace": Pace(**body["pace"]),
                "units": tuple(body["units"]),
                "judged": tuple(body["judged"]),
                "looks": looks,
                "windows": [Window(**window) for window in body["windows"]],
                "faults": [Fault(**fault) for fault in body["faults"]],
                "rebuilds": [(why, seconds) for why, seconds in body["rebuilds"]],
                "writes": [Write(**write) for write in body["writes"]],
                "cells": {(unit, day): (quantity, events) for unit, day, quantity, events in body["cells"]},
                "states": {unit: tuple(state) for unit, state in body["states"].items()},
            }
        )
    )
