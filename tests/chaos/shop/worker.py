"""A worker of a chaos run: the product's own composition, on fast time, with places where it can be struck.

``python -m tests.chaos.shop.worker NAME``, settings in FLIPSIDE_*, and in the environment of the run: CHAOS_OPENING,
CHAOS_ORIGIN, CHAOS_RATE (the pace), CHAOS_POINTS (a folder; see `Points`), CHAOS_BUG (see
`tests.chaos.faults.planted`).
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.messages.codec import Record
from controller.messages.topics import ASSIGNMENT
from flipside.serve import serve
from streams.app import run_worker
from streams.runtime.settings import Settings
from streams.worker.services import Parts
from tests.chaos.faults.planted import BUGS
from tests.chaos.shop.pace import FastClock, Opening

POINTS = ("claim", "flip", "settle", "fold", "between", "publish", "drop", "put back")


class Points:
    """Places where this process stops or kills itself, once, when a file ``WORKER.POINT`` asks for it.

    A signal from outside hits a process anywhere; the races that matter are between two steps. The file holds ``stop``
    or ``kill``, and is gone when it has struck.
    """

    def __init__(self, folder: str, worker: str) -> None:
        self._files = {point: Path(folder) / f"{worker}.{point}" for point in POINTS}

    def pass_by(self, point: str) -> None:
        file = self._files[point]
        if not file.exists():
            return
        sign = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}[file.read_text()]
        file.unlink()
        os.kill(os.getpid(), sign)


class StruckStore:
    """The store, passing by the points."""

    def __init__(self, store: Any, points: Points, opening: Opening) -> None:
        self._store = store
        self._points = points
        self._opening = opening

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def time(self) -> datetime:
        """The clock of Redis, in the shop's time: no fault moves it."""
        real: datetime = await self._store.time()
        return datetime.fromtimestamp(self._opening.shop_ms(real.timestamp()) / 1000, UTC)

    async def claim(self, *args: Any) -> Any:
        tick = await self._store.claim(*args)
        self._points.pass_by("claim")
        return tick

    async def flip_all(self, *args: Any, **more: Any) -> Any:
        if len(args) > 2 and args[2]:
            self._points.pass_by("flip")
        return await self._store.flip_all(*args, **more)

    async def settle(self, *args: Any) -> None:
        self._points.pass_by("settle")
        await self._store.settle(*args)

    async def fold_sales(self, *args: Any, **more: Any) -> Any:
        self._points.pass_by("fold")
        return await self._store.fold_sales(*args, **more)

    async def put_back(self, *args: Any) -> None:
        self._points.pass_by("put back")
        await self._store.put_back(*args)

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        if ids:
            self._points.pass_by("drop")
        await self._store.published(shard, ids)


class StruckParts(Parts):
    """The parts, passing by the point before what is decided goes out."""

    points: Points

    async def publish(self, topic: str, records: Iterable[Record]) -> int | None:
        waiting = list(records)
        if waiting and topic == ASSIGNMENT:
            self.points.pass_by("publish")
        return await super().publish(topic, waiting)


def fitted(parts: Parts, points: Points, opening: Opening, bug: str) -> Parts:
    """The parts with fast time, the points and, where one is asked for, a planted bug."""
    kind: Any = StruckParts
    store: Any = parts.store
    planted = BUGS[bug] if bug else None
    if planted is not None and planted.parts is not None:
        kind = planted.parts(StruckParts)
    if planted is not None and planted.store is not None:
        store = planted.store(store, points)
    given = {field.name: getattr(parts, field.name) for field in fields(parts)}
    found: Parts = kind(**(given | {"store": StruckStore(store, points, opening), "clock": FastClock(opening)}))
    object.__setattr__(found, "points", points)
    return found


def main() -> None:
    name = sys.argv[1]
    points = Points(os.environ["CHAOS_POINTS"], name)
    opening, bug = Opening.from_environment(), os.environ.get("CHAOS_BUG", "")
    settings = Settings(worker_id=name)
    serve(
        settings,
        lambda stop: run_worker(settings, name, stop, fitted=lambda parts: fitted(parts, points, opening, bug)),
    )


if __name__ == "__main__":
    main()
