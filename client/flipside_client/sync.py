"""The client for threaded services: an event loop in a thread of its own, look-ups straight from the caller's."""

import asyncio
import threading
from collections.abc import Collection, Coroutine
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from flipside_client.assignments import Assignments, Callback, Status
from flipside_client.clock import Clock, wall_clock
from flipside_client.errors import NotStarted
from flipside_client.fold import Price
from flipside_client.record import Assignment

T = TypeVar("T")


class SyncAssignments:
    """Like :class:`Assignments`, with the same arguments, but ``with`` instead of ``async with``.

    A look-up takes no lock and does not meet the event loop. ``on_change`` is called in the loop's thread. Start it
    after a server has forked its workers: a thread does not survive a fork.
    """

    def __init__(
        self,
        bootstrap: str,
        namespace: str = "",
        *,
        markets: Collection[str] | None = None,
        on_change: Callback | None = None,
        clock: Clock = wall_clock,
        system: str = "pricing-system",
        ready_timeout_seconds: float = 30.0,
        **security: Any,
    ) -> None:
        self._client = Assignments(
            bootstrap,
            namespace,
            markets=markets,
            on_change=on_change,
            clock=clock,
            system=system,
            ready_timeout_seconds=ready_timeout_seconds,
            **security,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.topic = self._client.topic
        self.arm = self._client.arm

    def price(self, unit: str, now: datetime | int) -> Price:
        """Arm, price in minor units, the assignment's id, and why."""
        return self._client.price(unit, now)

    def assignment(self, unit: str, now: datetime | int) -> Assignment | None:
        """The record that holds; None where control is shown."""
        return self._client.assignment(unit, now)

    def announced(self, unit: str, now: datetime | int) -> tuple[Assignment, ...]:
        """Records that start after ``now``, soonest first."""
        return self._client.announced(unit, now)

    def units(self) -> tuple[str, ...]:
        """All units of which a record is held, sorted."""
        return self._client.units()

    @property
    def ready(self) -> bool:
        """Everything that was on the topic at the start has been read."""
        return self._client.ready

    @property
    def markets_never_seen(self) -> tuple[str, ...]:
        """Markets that were asked for and of which no record has been read; see the asyncio client."""
        return self._client.markets_never_seen

    def status(self) -> Status:
        """The client in numbers."""
        return self._client.status()

    def applied(
        self,
        unit: str,
        now: datetime | int,
        *,
        arm: str | None = None,
        price_minor: int | None = None,
        control: str = "control",
        timeout_seconds: float = 30.0,
    ) -> str:
        """Say what went live, and wait until Kafka has it; see :meth:`Assignments.applied`."""
        said = self._client.applied(unit, now, arm=arm, price_minor=price_minor, control=control)
        return self._run(said, timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, wait: bool = True) -> None:
        """Begin to read; see :meth:`Assignments.start`."""
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="flipside-client", daemon=True)
        self._loop = loop
        self._thread.start()
        try:
            self._run(self._client.start(wait=wait), None)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop reading and end the thread. What is held goes on being answered until its lease ends."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self._run(self._client.close(), None)
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _run(self, work: Coroutine[Any, Any, T], timeout_seconds: float | None) -> T:
        if self._loop is None:
            work.close()
            raise NotStarted("the client is not running; use it inside `with`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)
