"""The client for asyncio services: it reads the topic of assignments from its beginning and goes on reading."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from flipside_client.acknowledge import Acknowledger
from flipside_client.batches import read_any_header_name
from flipside_client.changes import Change, Changes
from flipside_client.clock import Clock, seconds_running, wall_clock
from flipside_client.errors import FlipsideClientError, KafkaUnreachable, NotStarted, TopicMissing
from flipside_client.fold import Fold, Outcome, Price
from flipside_client.markets import wanted_markets
from flipside_client.record import ASSIGNMENT_TOPIC, Assignment, topic, void

log = logging.getLogger("flipside_client")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
#: how long one wait for records lasts at most; staleness is brought up to date as often
POLL_MS = 200
#: how often a clock that may jump (a simulated one) is asked whether something is due
LOOK_SECONDS = 0.05
#: how far ahead of our clock a decision may claim to be: clocks are wrong by less
AHEAD_MS = 24 * 3_600_000

Callback = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Status:
    """The client in numbers, for a readiness probe and for metrics."""

    #: everything that was on the topic at the start has been read
    ready: bool
    #: for so long the client has not known that it holds all that is published; None before it is ready
    staleness_seconds: float | None
    #: units of which a record is held
    units: int
    #: records by what became of them: applied, old, repeated, conflicting, tombstone, unreadable, late
    records: dict[Outcome, int]
    #: records of markets that were not asked for
    filtered: int
    #: how often the connection had to be made anew
    reconnects: int
    #: callbacks that raised
    callback_errors: int
    #: acknowledgements that Kafka has taken
    acknowledged: int
    #: what went wrong last, in words; None if nothing did
    last_error: str | None


class Assignments:
    """Knows the arm of every unit: ``async with Assignments("kafka:9092") as a: a.arm("market/product", now)``.

    Entering waits until all that is on the topic has been read, at most ``ready_timeout_seconds``, and raises
    KafkaUnreachable or TopicMissing with the address. Afterwards no look-up raises or waits for Kafka: what is held
    holds until its lease ends. Look-ups work from any thread.

    ``markets``: only units of these markets are held; a collection of names, never one string. Those of which nothing
    was on the topic when the client became ready are logged and in :attr:`markets_never_seen`. ``on_change``: called in
    the event loop with every :class:`Change`; keep it short. ``clock``: answers milliseconds since 1970 and times the
    callback and the check of records' instants alone (pass the replay's clock in a rehearsal); look-ups take ``now``.
    ``fetch_wait_ms``: how long a broker may hold back a fetch that finds nothing; questions queue behind it.
    ``security``: passed on to aiokafka: security_protocol, ssl_context, sasl_mechanism, sasl_plain_username, ...
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
        fetch_wait_ms: int = 100,
        **security: Any,
    ) -> None:
        self.topic = topic(ASSIGNMENT_TOPIC, namespace)
        self._bootstrap = bootstrap
        self._security = security
        self._markets = wanted_markets(markets)
        self._prefixes = None if self._markets is None else tuple(f"{name}/".encode() for name in self._markets)
        self._never_seen: tuple[str, ...] = ()
        self._on_change = on_change
        self._clock = clock
        self._ready_timeout_seconds = ready_timeout_seconds
        self._fetch_wait_ms = fetch_wait_ms
        self._fold = Fold()
        #: look-ups see nothing of a half-loaded topic
        self._visible = Fold()
        self._changes: Changes | None = None
        self._ready = asyncio.Event()
        self._caught_up: dict[TopicPartition, float] = {}
        self._filtered = self._reconnects = self._callback_errors = 0
        self._last_error: str | None = None
        self._topic_missing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._acknowledger = Acknowledger(bootstrap, namespace, system, security)

    # --- look-ups ---------------------------------------------------------------------------------------------------

    def arm(self, unit: str, now: datetime | int) -> str | None:
        """The arm to show for ``market/product`` at ``now`` (aware, or milliseconds since 1970); None means control."""
        return self._visible.arm(unit, now)

    def price(self, unit: str, now: datetime | int) -> Price:
        """Arm, price in minor units, the assignment's id, and why."""
        if not self.ready:
            return Price(unit, None, None, None, None, "loading", None)
        return self._visible.price(unit, now)

    def assignment(self, unit: str, now: datetime | int) -> Assignment | None:
        """The record that holds; None where control is shown."""
        return self._visible.assignment(unit, now)

    def announced(self, unit: str, now: datetime | int) -> tuple[Assignment, ...]:
        """Records that start after ``now``, soonest first."""
        return self._visible.announced(unit, now)

    def units(self) -> tuple[str, ...]:
        """All units of which a record is held, sorted."""
        return self._visible.units()

    # --- health -----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Everything that was on the topic at the start has been read."""
        return self._ready.is_set()

    @property
    def markets_never_seen(self) -> tuple[str, ...]:
        """Markets that were asked for and of which no record has been read, sorted; empty before the client is ready.

        A market is in here until its first assignment: a name that stays is misspelt, or has no experiment yet.
        """
        if not (self.ready and self._never_seen):
            return ()
        seen = self._fold.markets()
        return tuple(name for name in self._never_seen if name not in seen)

    def status(self) -> Status:
        """The client in numbers."""
        staleness = max(seconds_running() - min(self._caught_up.values()), 0.0) if self._caught_up else None
        return Status(
            ready=self.ready,
            staleness_seconds=staleness if self.ready else None,
            units=len(self._fold),
            records=dict(self._fold.counts),
            filtered=self._filtered,
            reconnects=self._reconnects,
            callback_errors=self._callback_errors,
            acknowledged=self._acknowledger.acknowledged,
            last_error=self._last_error or self._fold.last_unreadable,
        )

    # --- acknowledgements -------------------------------------------------------------------------------------------

    async def applied(
        self,
        unit: str,
        now: datetime | int,
        *,
        arm: str | None = None,
        price_minor: int | None = None,
        control: str = "control",
    ) -> str:
        """Say on the topic of applied prices what went live at ``now``, and wait until Kafka has it.

        Without ``arm`` and ``price_minor`` it says that what this client answers at ``now`` was followed. ``control``
        is the name that control goes by where no assignment holds. The event's id, which is returned, is a hash of what
        is said: saying it twice counts once.
        """
        if not self._tasks:
            raise NotStarted(f"applied({unit!r}): the client is not running; use it inside `async with`")
        shown = self.price(unit, now)
        return await self._acknowledger.say(
            unit=unit,
            arm=arm or shown.arm or control,
            price_minor=shown.price_minor if price_minor is None else price_minor,
            applied_at=now,
            assignment=shown.assignment_id,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, *, wait: bool = True) -> None:
        """Begin to read. ``wait=False`` returns at once: until ready every unit is on control, and Kafka's absence is
        seen in :meth:`status` rather than raised."""
        if self._tasks:
            raise FlipsideClientError("this client is already running; make another one")
        reading = asyncio.create_task(self._read(), name="flipside-client-read")
        self._tasks.append(reading)
        if not wait:
            return
        try:
            async with asyncio.timeout(self._ready_timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            error = self._not_ready()
            await self.close()
            raise error from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop reading and give the connections back. What is held goes on being answered until its lease ends."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._acknowledger.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read for ever. A connection that cannot be had is tried again, with pauses that grow."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                group_id=None,  # every client reads all partitions, from the beginning
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                max_partition_fetch_bytes=8 * 1024 * 1024,
                fetch_max_wait_ms=self._fetch_wait_ms,
                metadata_max_age_ms=5_000,  # so soon are added partitions noticed, and all of them read again
                **self._security,
            )
            read_any_header_name()
            started = seconds_running()
            complaints: list[str] = []
            try:
                with _listening_to(complaints):
                    await consumer.start()
                    await self._subscribe(consumer)
                await self._follow(consumer)
            except (KafkaError, OSError) as error:
                self._note(complaints[-1] if complaints else f"{type(error).__name__}: {error}")
            except TopicMissing as error:
                self._note(str(error))
                self._topic_missing = True
            except Exception:
                log.exception("reading assignments failed; starting over")
                self._note("reading failed, see the log")
            finally:
                with contextlib.suppress(KafkaError, OSError):
                    await consumer.stop()
            self._reconnects += 1
            if seconds_running() - started > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        """Ask for all partitions, those that are added later included. Lists the topics first, because on some brokers
        to ask for a topic is to create it."""
        if self.topic not in await consumer.topics():
            raise TopicMissing(
                f"topic {self.topic} is not on Kafka at {self._bootstrap}, or this user may not read it: create it "
                "with `flipside topics create`, or correct the namespace or the user's rights"
            )
        self._topic_missing = False
        consumer.subscribe([self.topic])

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        """Take records as they come; ready once every partition was read to where it ended at the start."""
        ends: dict[TopicPartition, int] = {}
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            for records in batches.values():
                self._take(records)
            if not ends:
                ends = dict(await consumer.end_offsets(consumer.assignment()))
            await self._note_progress(consumer)
            if ends and not self._ready.is_set():
                positions = {partition: await consumer.position(partition) for partition in ends}
                if all(positions[partition] >= end for partition, end in ends.items()):
                    self._become_ready()

    def _take(self, records: list[Any]) -> None:
        fold, prefixes, changes = self._fold, self._prefixes, self._changes
        late_before, latest_ms = fold.counts["late"], self._clock() + AHEAD_MS
        for record in records:
            if prefixes is not None and not (record.key or b"").startswith(prefixes):
                self._filtered += 1
                continue
            late = void(record.headers, record.timestamp, record.timestamp_type)
            outcome, assignment = fold.take(record.key, record.value, late, latest_ms)
            if outcome == "unreadable":
                log.warning("%s[%d]@%d: %s", self.topic, record.partition, record.offset, fold.last_unreadable)
            elif changes is not None and outcome in ("applied", "tombstone"):
                unit = record.key.decode() if assignment is None else assignment.unit
                self._tell(changes.taken(unit, assignment, self._clock()))
        if fold.counts["late"] > late_before:
            log.warning("%s: %d records came too late and are void", self.topic, fold.counts["late"] - late_before)

    async def _note_progress(self, consumer: AIOKafkaConsumer) -> None:
        """A partition is up to date as of the last answer of its broker that left nothing unread."""
        instant = seconds_running()
        for partition in consumer.assignment():
            polled_ms, end = consumer.last_poll_timestamp(partition), consumer.highwater(partition)
            if polled_ms is None or end is None or await consumer.position(partition) < end:
                self._caught_up.setdefault(partition, instant)
                continue
            self._caught_up[partition] = instant - max(wall_clock() - polled_ms, 0) / 1000

    def _become_ready(self) -> None:
        self._visible = self._fold
        if self._on_change is not None:
            self._changes = Changes(self._fold, self._clock())
            self._tasks.append(asyncio.create_task(self._watch(self._changes), name="flipside-client-watch"))
        seen = self._fold.markets()
        self._never_seen = tuple(name for name in self._markets or () if name not in seen)
        if self._never_seen:
            log.warning(
                "%s: no record of the markets %s; their units show control. Check the spelling, or wait for their "
                "first experiment",
                self.topic,
                ", ".join(self._never_seen),
            )
        self._ready.set()
        log.info("%s: %d units held", self.topic, len(self._fold))

    async def _watch(self, changes: Changes) -> None:
        """Tell of starts and ends of leases when the clock reaches them."""
        while True:
            self._tell(changes.due(self._clock()))
            due = changes.next_due_ms()
            wait = LOOK_SECONDS if due is None else min(max(due - self._clock(), 0) / 1000, LOOK_SECONDS)
            await asyncio.sleep(wait)

    def _tell(self, changes: Iterable[Change]) -> None:
        for change in changes:
            try:
                if self._on_change is not None:
                    self._on_change(change)
            except Exception:
                self._callback_errors += 1
                log.exception("on_change failed for %s", change.unit)

    # --- what went wrong --------------------------------------------------------------------------------------------

    def _note(self, complaint: str) -> None:
        if complaint != self._last_error:
            log.warning("%s at %s: %s", self.topic, self._bootstrap, complaint)
        self._last_error = complaint

    def _not_ready(self) -> FlipsideClientError:
        last = self._last_error or "no answer"
        if self._topic_missing:
            return TopicMissing(last)
        return KafkaUnreachable(
            f"Kafka at {self._bootstrap} did not let us read within {self._ready_timeout_seconds:g} s: {last}. Check "
            "the address and, where the broker demands them, security_protocol, ssl_context and the sasl_ arguments"
        )


class _Complaints(logging.Handler):
    def __init__(self, complaints: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.append(record.getMessage())


@contextlib.contextmanager
def _listening_to(complaints: list[str]) -> Iterator[None]:
    """aiokafka logs why a broker refused (a wrong password), and raises only that it could not bootstrap."""
    handler = _Complaints(complaints)
    logger = logging.getLogger("aiokafka")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
