"""A replay: real or generated sales through the whole system, in simulated time, through the very same code.

The replayer plays everything that is not Flipside: the clock (ticks), the catalog, the pricing system (through the
client), the shop's sales and its rivals' prices. It knows the truth, because it planted it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial

from aiokafka import AIOKafkaProducer

from controller.decisions.guardrails import first_breach
from controller.definition.experiment import Arm, Experiment, Market, PriceRule, RandomDays
from controller.definition.field_types import LATEST, milliseconds
from controller.errors import FlipsideError
from controller.messages.codec import Record, encode
from controller.messages.control import Entered, LifecycleChanged, TriggerIgnored
from controller.messages.events import Assignment, BlackoutSet, Estimate, PeriodClosed, Refused, Registered, Tick
from controller.messages.findings import RunningSequence
from controller.messages.graphs import GraphPart
from controller.messages.inputs import Blackout
from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT_LOG,
    BLACKOUT,
    CATALOG,
    COMPETITOR_PRICE,
    DEAD_LETTER,
    DEFINITION,
    ESTIMATE,
    GRAPH,
    HEALTH,
    MAX_RECORD_BYTES,
    PANEL,
    SALE,
    SEQUENCE,
    TICK,
)
from controller.time.periods import Period, period
from flipside.replay.progress import Ended, Progress, Result, judged, of_units_sold, sequence_of_units_sold
from flipside.sales_history.history import History
from flipside.simulated_shop.competitors import Rivals, rivals_of
from flipside.simulated_shop.shop import Sells, Shop, plain
from flipside.topics.reader import Reader
from flipside_client import Assignments
from streams.kafka.connection import connection, stop_client
from streams.runtime.settings import Settings
from streams.worker.services import partition_of

#: data weeks become consecutive local days from here on: a spring with a change of clocks
FIRST_DAY = date(1990, 3, 12)
TOPIC_OF = {"sale": SALE, "competitor-price": COMPETITOR_PRICE, "applied": APPLIED}
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.01
#: units that an error names
UNITS_NAMED = 5
ONE_DAY = timedelta(days=1)
#: how often a served demo says what time it is
SERVED_TICK_SECONDS = 1.0
#: how long after midnight somebody looks at rivals' prices
RIVALS_SEEN = timedelta(hours=6)
#: days up to the eve of a day that are not closed yet: the one that ends, and the one before it
NOT_YET_CLOSED = 2
#: periods that may be open at once: the shop waits for the system as a real day would
PERIODS_AHEAD = 4


class ReplayFailed(FlipsideError):
    """The system did not answer in time; the message says what was waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay."""

    history: History
    experiment: Experiment
    effect: float
    seed: str
    #: periods of the history that lie before the experiment's start: the shop sells at control
    before: int = 0
    blackouts: tuple[Blackout, ...] = ()
    #: the graph that the experiment's clusters come from, as it is published; the head is last
    graph: tuple[GraphPart, ...] = ()
    #: what is sold where it follows from all units' arms; None: the history, with the planted effect
    sells: Sells | None = None
    #: category -> its planted effect, where it is not `effect`
    effects_by_category: Mapping[str, float] = field(default_factory=dict)
    #: called at the start of each period, before its assignments are due: where tests kill and poison
    on_period: Callable[["Replayer", int], Awaitable[None]] | None = None
    on_progress: Callable[[Progress], None] | None = None
    #: called with the seconds from the start of the replay, when a pricing system first holds an assignment
    on_first_assignment: Callable[[float], None] = lambda seconds: None
    #: called once catalog, blackouts and definition are published, before anybody is waited for
    on_submitted: Callable[[], None] = lambda: None
    #: asked while waiting: raises if a process that we depend on has ended
    check_alive: Callable[[], None] = lambda: None

    @property
    def own_effects(self) -> dict[str, float]:
        """Unit -> its planted effect, of units whose category has one of its own."""
        of = self.effects_by_category
        return {
            entry.unit: of[entry.category] for entry in self.history.catalog if entry.category and entry.category in of
        }

    def truth(self, units: Sequence[str]) -> float:
        """The planted effect on all that these units sell, relative to control."""
        own, chosen = self.own_effects, set(units)
        sold = [row for period in self.history.periods[self.before :] for row in period if row.unit in chosen]
        packs = sum(row.packs for row in sold)
        if not own or packs == 0:
            return self.effect
        return sum(row.packs * own.get(row.unit, self.effect) for row in sold) / packs


def default_experiment(history: History, name: str, seed: str) -> Experiment:
    """Random days over all stores: each day half of them pay 5 % more."""
    return Experiment(
        name=name,
        owner="replay",
        description="planted effect on real sales",
        currency=history.currency,
        units=tuple(entry.unit for entry in history.catalog),
        clusters="market",
        arms=(Arm(name="control"), Arm(name="treatment", price=PriceRule.model_validate_json('{"percent": "5"}'))),
        design=RandomDays(),
        start=FIRST_DAY,
        days=len(history.periods),
        seed=seed,
    )


class Replayer:
    """Drives one experiment over one history."""

    def __init__(self, settings: Settings, plan: Plan, producer: AIOKafkaProducer, client: Assignments) -> None:
        self.settings = settings
        self.plan = plan
        self._producer = producer
        self._client = client
        self._log = Reader(settings, [ASSIGNMENT_LOG])
        self._estimates = Reader(settings, [ESTIMATE])
        self._panel = Reader(settings, [PANEL])
        self._dead = Reader(settings, [DEAD_LETTER])
        self._findings = Reader(settings, [SEQUENCE, HEALTH])
        self._shown: list[Estimate] = []
        #: unit -> its assignment for the day that is played
        self._today: dict[str, Assignment] = {}
        self.events_in = 0
        self.markets: tuple[Market, ...] = ()
        #: market -> last closed day
        self._closed: dict[str, date] = {}
        self._rivals: Rivals | None = None
        #: triggers that were answered
        self._answered: set[str] = set()
        self._started = time.monotonic()
        self.first_assignment_seconds: float | None = None
        #: a guardrail ended the experiment before its last day
        self.ended: Ended | None = None

    async def run(self) -> Result:
        """The whole replay; raises ReplayFailed or InvalidExperiment."""
        async with self._reading():
            registered = await self._open()
            self.markets = registered.experiment.markets
            self._rivals = rivals_of(registered.experiment, self.plan.history, self.plan.seed)
            apart = self._rivals is not None
            plan, definition = self.plan, registered.experiment
            shop = Shop(self._client, definition, plan.effect, plan.seed, apart, plan.sells, plan.own_effects)
            for number in range(len(self.plan.history.periods)):
                await self._period(registered, shop, number)
                if self.ended is not None:
                    return await self._finish_early(registered, shop, self.ended.day)
            return await self._finish(registered, shop)

    async def serve(self, ready: Callable[[str], None], now: Callable[[], datetime], stop: asyncio.Event) -> None:
        """Play the history up to today, then follow a clock until ``stop``: what a client can be tried against.

        The last period of the history is today; ``ready`` is told a unit once all arms of today are out.
        """
        async with self._reading():
            registered = await self._open()
            experiment = registered.experiment
            self.markets = experiment.markets
            shop = Shop(self._client, experiment, self.plan.effect, self.plan.seed)
            past = len(self.plan.history.periods) - 1
            for number in range(past):
                await self._period(registered, shop, number)
            today = experiment.start + past * ONE_DAY
            await self._eve(self._days(today), experiment.lead)
            await self._until(f"the arms of {today}", partial(self._informed, shop, today))
            ready(experiment.units[0])
            while not stop.is_set():
                await self.tick(now())
                self.plan.check_alive()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), SERVED_TICK_SECONDS)

    @property
    def _readers(self) -> tuple[Reader, ...]:
        return self._log, self._panel, self._dead, self._estimates, self._findings

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """All readers are started, and stopped afterwards."""
        async with AsyncExitStack() as stack:
            for reader in self._readers:
                await reader.start()
                stack.push_async_callback(reader.stop)
            yield

    async def _informed(self, shop: Shop, day: date) -> bool:
        await self._hear(day)
        return not shop.uninformed(shop.experiment.units, self._days(day), self._today)

    # --- talking to the system ----------------------------------------------------------------------------------------

    async def send(self, topic: str, records: Sequence[Record]) -> None:
        """Publish as the owner's systems do, and wait until all is acknowledged."""
        name, partitions = self.settings.prefixed(topic), self.settings.partitions
        sent = [
            await self._producer.send(
                name, value=r.value, key=r.key, headers=r.headers, partition=partition_of(r.key or b"", partitions)
            )
            for r in records
        ]
        for future in sent:
            await future

    async def tick(self, at: datetime) -> None:
        """It is now ``at``, in every partition."""
        record = encode(Tick(at=at), f"tick/{at.isoformat()}", at)
        for number in range(self.settings.partitions):
            await self._producer.send_and_wait(
                self.settings.prefixed(TICK), value=record.value, headers=record.headers, partition=number
            )

    async def _until(self, what: str | Callable[[], str], done: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await done():
            self.plan.check_alive()
            if time.monotonic() > deadline:
                named = what if isinstance(what, str) else what()
                raise ReplayFailed(f"waited {PATIENCE_SECONDS:.0f} s for {named}; do worker and analysis run?")
            await asyncio.sleep(POLL_SECONDS)

    # --- the steps ----------------------------------------------------------------------------------------------------

    async def _open(self) -> Registered:
        """Catalog, blackouts, definition; returns once the log says that they bind."""
        plan = self.plan
        first = plan.experiment.start - (plan.before + 2) * ONE_DAY
        first_instant = min(span.start for span in self._days(first).values())
        await self.tick(first_instant)
        await self.send(CATALOG, [plain(entry) for entry in plan.history.catalog])
        await self.send(BLACKOUT, [plain(blackout) for blackout in plan.blackouts])
        for record in plan.graph:
            await self.send(GRAPH, [encode(record, record.key, first_instant)])
        await self.send(DEFINITION, [plain(plan.experiment)])
        plan.on_submitted()
        answer: list[Registered] = []

        async def answered() -> bool:
            await self._log.poll()
            for message in self._log.messages:
                if isinstance(message, Refused):
                    raise ReplayFailed(f"{message.subject} was refused:\n" + "\n".join(message.problems))
                if isinstance(message, Registered) and message.experiment.name == plan.experiment.name:
                    answer.append(message)
            bound = {m.blackout for m in self._log.messages if isinstance(m, BlackoutSet)}
            return bool(answer) and bound >= {blackout.id for blackout in plan.blackouts}

        await self._until("the experiment to be registered", answered)
        return answer[0]

    def _days(self, day: date) -> dict[str, Period]:
        """A local day of each market of the catalog."""
        spans = {zone: period(day, zone) for zone in set(self.plan.history.time_zones.values())}
        return {market: spans[zone] for market, zone in self.plan.history.time_zones.items()}

    async def _eve(self, days: Mapping[str, Period], lead: timedelta) -> None:
        """It is so long before the day, in one time zone after the other."""
        for start in sorted({day.start for day in days.values()}):
            await self.tick(start - lead)

    async def _period(self, registered: Registered, shop: Shop, number: int) -> None:
        plan, experiment = self.plan, registered.experiment
        day = experiment.start + timedelta(days=number - plan.before)
        days = self._days(day)
        first = min(span.start for span in days.values())
        running = number >= plan.before
        if plan.on_period is not None:
            await plan.on_period(self, number)
        await self._eve(days, experiment.lead)

        self._today = {}
        missing: list[str] = []

        async def informed() -> bool:
            # An arm that holds over a block of days is published again on each of them: wait for today's word.
            await self._hear(day)
            missing[:] = shop.uninformed(experiment.units, days, self._today)
            if self.first_assignment_seconds is None and len(missing) < len(experiment.units):
                self.first_assignment_seconds = time.monotonic() - self._started
                plan.on_first_assignment(self.first_assignment_seconds)
            # A guardrail may act between the first and the last zone's midnight: the rest of the day has no arms.
            return not missing or bool(self._guardrail_changes())

        if running:
            await self._until(
                lambda: (
                    f"the assignments of {day}: {len(missing)} of {len(experiment.units)} units have none, "
                    f"among them {', '.join(missing[:UNITS_NAMED])}"
                ),
                informed,
            )
        if experiment.guardrails and (number >= plan.before + NOT_YET_CLOSED or self._guardrail_changes()):
            await self._watched(experiment, shop, day, max(span.start for span in days.values()))
            if self.ended is not None:
                return
        if self._rivals is not None:
            await self._rivals_move(self._rivals, shop, number, first)
        traded = shop.trade(number, days, plan.history.periods[number])
        await asyncio.gather(*(self.send(TOPIC_OF[kind], records) for kind, records in traded.items()))
        self.events_in += len(traded["sale"])
        await self._until(f"the closing of {day - PERIODS_AHEAD * ONE_DAY}", partial(self._closed_up_to, number, day))
        await self._report(number, day, shop.changed)

    async def _watched(self, experiment: Experiment, shop: Shop, day: date, at: datetime) -> None:
        """Wait for what the analysis says of all closed days; where that breaches a guardrail, for control prices."""
        through, guarded = day - NOT_YET_CLOSED * ONE_DAY, {guardrail.metric for guardrail in experiment.guardrails}
        latest: dict[tuple[str, str], RunningSequence] = {}

        async def told() -> bool:
            await self._findings.poll(1)
            latest.update(
                {
                    (m.metric, m.arm): m
                    for m in self._findings.messages
                    if isinstance(m, RunningSequence) and m.through is not None and m.through >= through
                }
            )
            return all((metric, arm.name) in latest for metric in guarded for arm in experiment.arms[1:])

        await self._until(f"the running sequences through {through}", told)
        arms = len(experiment.arms) - 1
        breaches = [
            guardrail
            for guardrail in experiment.guardrails
            for arm in experiment.arms[1:]
            if first_breach(guardrail, latest[guardrail.metric, arm.name], arms) is not None
        ]
        if not breaches:
            return
        changes: list[LifecycleChanged] = []

        async def acted() -> bool:
            await self._hear(day)
            changes[:] = self._guardrail_changes()
            if changes and breaches[0].on_breach == "revert":
                return not shop.treated(experiment.units, at)
            return bool(changes)

        await self._until(f"the guardrail on {breaches[0].metric} to act", acted)
        self.ended = Ended(day, changes[0].action, breaches[0].metric, (day - experiment.start).days, experiment.days)

    def _guardrail_changes(self) -> list[LifecycleChanged]:
        """What guardrails did to the experiment, as far as the log was read."""
        return [m for m in self._log.messages if isinstance(m, LifecycleChanged) and m.role == "guardrail"]

    async def _rivals_move(self, rivals: Rivals, shop: Shop, number: int, start: datetime) -> None:
        """Rivals' prices of a day, wave by wave; returns once every trigger is answered and what begins today has."""
        experiment = rivals.experiment
        day, at = experiment.start + timedelta(days=number - self.plan.before), start + RIVALS_SEEN
        for wave in rivals.move(number, at):
            await self.send(COMPETITOR_PRICE, [plain(price) for price in wave.prices])

            async def answered(wanted: frozenset[str] = wave.triggers) -> bool:
                await self._hear(day)
                return wanted <= self._answered

            await self._until(f"the answers to {len(wave.triggers)} triggers of {day}", answered)
        beginning = {
            m.cluster: m
            for m in self._log.messages
            if isinstance(m, Entered) and m.first_day == day and m.starts_at > start
        }
        if not beginning:
            return
        await self.tick(at)

        async def begun() -> bool:
            await self._hear(day)
            return all(
                shop.assignments.arm(unit, beginning[cluster].starts_at) == beginning[cluster].arm
                for unit, cluster in rivals.clusters.items()
                if cluster in beginning
            )

        await self._until(f"{len(beginning)} entries to begin on {day}", begun)

    async def _closed_up_to(self, number: int, day: date) -> bool:
        """Whether every market has closed the period that lies PERIODS_AHEAD back."""
        await self._take_closings()
        await self._dead.poll(0)
        markets = {market.name for market in self.markets}
        wanted = day - PERIODS_AHEAD * ONE_DAY
        return number < PERIODS_AHEAD or all(self._closed.get(m, date.min) >= wanted for m in markets)

    async def _take_closings(self) -> None:
        for message in await self._panel.poll(1):
            if isinstance(message, PeriodClosed):
                self._closed[message.market] = max(message.day, self._closed.get(message.market, message.day))

    async def _hear(self, day: date) -> None:
        """Take in what the log says about a day."""
        new = await self._log.poll(1)
        self._today.update({m.unit: m for m in new if isinstance(m, Assignment) and m.day == day})
        self._answered.update(m.trigger for m in new if isinstance(m, Entered | TriggerIgnored))

    async def _report(self, number: int, day: date, flips: int) -> None:
        await self._hear(day)
        latest = of_units_sold(await self._estimates.poll(1), self.plan.experiment) or self._shown
        self._shown = latest[-1:]
        await self._findings.poll(0)
        sequence = sequence_of_units_sold(self._findings.messages, self.plan.experiment)
        if self.plan.on_progress is not None:
            self.plan.on_progress(
                Progress(
                    period=number + 1,
                    periods=len(self.plan.history.periods),
                    day=day,
                    events=self.events_in,
                    flips=flips,
                    blocked=sum(m.arm != m.planned_arm for m in self._today.values()),
                    estimate=latest[-1] if latest else None,
                    seconds=time.monotonic() - self._started,
                    sequence=sequence,
                )
            )

    async def _finish(self, registered: Registered, shop: Shop) -> Result:
        """Let the last day end, the units go back to control, and the last number arrive."""
        experiment = registered.experiment
        last = experiment.end - ONE_DAY
        await self._eve(self._days(experiment.end), experiment.lead)
        await self._day_closes(experiment.end)

        held = set(experiment.units)

        async def released() -> bool:
            held.difference_update(
                m.unit for m in await self._log.poll() if isinstance(m, Assignment) and m.day == experiment.end
            )
            return not held

        async def estimated() -> bool:
            await self._estimates.poll()
            return {m.metric for m in self._estimates.messages if isinstance(m, Estimate) and m.through == last} >= {
                "units",
                "revenue",
                "margin",
            }

        await self._until("the release of all units to control", released)
        await self._until(f"the estimates through {last}", estimated)
        return await self._result(registered, shop)

    async def _day_closes(self, day: date) -> None:
        """It is so late on this day, everywhere, that the day before it is closed."""
        ends = max(span.start for span in self._days(day).values())
        await self.tick(ends + timedelta(seconds=self.settings.lateness_seconds + 60))

    async def _finish_early(self, registered: Registered, shop: Shop, day: date) -> Result:
        """All is on control: let the days that were played close."""
        await self._day_closes(day)
        wanted, markets = day - ONE_DAY, {market.name for market in self.markets}

        async def closed() -> bool:
            await self._take_closings()
            return all(self._closed.get(market, date.min) >= wanted for market in markets)

        await self._until(f"the closing of {wanted}", closed)
        return await self._result(registered, shop)

    async def _result(self, registered: Registered, shop: Shop) -> Result:
        """What was read to its end, judged."""
        for reader in self._readers:
            await reader.drain()
        start, before = registered.experiment.start, self.plan.before
        return judged(
            registered,
            log=self._log.messages,
            panel=self._panel.messages,
            estimates=self._estimates.messages,
            shown={(unit, start + (number - before) * ONE_DAY): arm for (unit, number), arm in shop.observed.items()},
            blackouts=self.plan.blackouts,
            rivals=[] if self._rivals is None else self._rivals.seen,
            listed={entry.unit: entry.list_price_minor for entry in self.plan.history.catalog},
            truth=self.plan.truth(registered.experiment.units),
            events_in=self.events_in,
            dead_lettered=len(self._dead.others),
            seconds=round(time.monotonic() - self._started, 3),
            first_assignment_seconds=self.first_assignment_seconds,
            findings=self._findings.messages,
            ended=self.ended,
        )


@asynccontextmanager
async def replayer(settings: Settings, plan: Plan) -> AsyncIterator[Replayer]:
    """A replayer connected to Kafka, with a pricing system's client."""
    producer = AIOKafkaProducer(
        **connection(settings),
        acks="all",
        enable_idempotence=True,
        linger_ms=2,
        max_batch_size=256 * 1024,
        max_request_size=MAX_RECORD_BYTES,
    )
    await producer.start()
    try:
        arguments = connection(settings)
        bootstrap = arguments.pop("bootstrap_servers")
        fetch_wait_ms = settings.fetch_wait_ms
        # The days of a replay are ticks', and may lie ahead of this machine's clock by as much as they like.
        ends = milliseconds(LATEST)
        async with Assignments(
            bootstrap, settings.namespace, fetch_wait_ms=fetch_wait_ms, clock=lambda: ends, **arguments
        ) as client:
            yield Replayer(settings, plan, producer, client)
    finally:
        await stop_client(producer)
