"""A replay: real or generated sales through the whole system, in simulated time, through the very same code.

The replayer plays everything that is not Flipside: the clock (ticks), the catalog, the pricing system (through the
client), the shop's sales and its rivals' prices. It knows the truth, because it planted it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

from aiokafka import AIOKafkaProducer

from controller.decisions.guardrails import first_breach
from controller.definition.experiment import Experiment, Market
from controller.definition.field_types import LATEST, milliseconds
from controller.messages.codec import Record, encode
from controller.messages.control import Entered
from controller.messages.events import Estimate, Registered, Tick
from controller.messages.topics import (
    APPLIED,
    BLACKOUT,
    CATALOG,
    COMPETITOR_PRICE,
    DEFINITION,
    GRAPH,
    MAX_RECORD_BYTES,
    SALE,
    TICK,
)
from controller.time.periods import Period, period
from flipside.replay.answers import Answers, ReplayFailed
from flipside.replay.plan import Plan
from flipside.replay.progress import Ended, Progress, Result, judged, of_units_sold, sequence_of_units_sold
from flipside.simulated_shop.competitors import Rivals, rivals_of
from flipside.simulated_shop.shop import Shop, plain
from flipside_client import Assignments
from streams.kafka.connection import connection, stop_client
from streams.runtime.settings import Settings
from streams.worker.services import partition_of

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

Answer = TypeVar("Answer")


class Replayer:
    """Drives one experiment over one history."""

    def __init__(self, settings: Settings, plan: Plan, producer: AIOKafkaProducer, client: Assignments) -> None:
        self.settings = settings
        self.plan = plan
        self._producer = producer
        self._client = client
        self._answers = Answers(settings)
        self._shown: list[Estimate] = []
        self.events_in = 0
        self.markets: tuple[Market, ...] = ()
        self._rivals: Rivals | None = None
        self._started = time.monotonic()
        self.first_assignment_seconds: float | None = None
        #: a guardrail ended the experiment before its last day
        self.ended: Ended | None = None

    async def run(self) -> Result:
        """The whole replay; raises ReplayFailed or InvalidExperiment."""
        async with self._answers.reading():
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
        async with self._answers.reading():
            registered = await self._open()
            experiment = registered.experiment
            self.markets = experiment.markets
            shop = Shop(self._client, experiment, self.plan.effect, self.plan.seed)
            past = len(self.plan.history.periods) - 1
            for number in range(past):
                await self._period(registered, shop, number)
            today = experiment.start + past * ONE_DAY
            days = self._days(today)
            await self._eve(days, experiment.lead)
            await self._until(f"the arms of {today}", partial(self._informed, shop, today, days))
            ready(experiment.units[0])
            while not stop.is_set():
                await self.tick(now())
                self.plan.check_alive()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), SERVED_TICK_SECONDS)

    async def _informed(self, shop: Shop, day: date, days: Mapping[str, Period]) -> bool:
        await self._answers.read_log()
        return not self._uninformed(shop, day, days)

    def _uninformed(self, shop: Shop, day: date, days: Mapping[str, Period]) -> list[str]:
        """Units without an assignment for a day, as far as the log was read.

        An arm that holds over a block of days is published again on each of them.
        """
        return shop.uninformed(shop.experiment.units, days, self._answers.assignments[day])

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

    async def _until(self, what: str | Callable[[], str], found: Callable[[], Awaitable[Answer | None]]) -> Answer:
        """The first answer that is not empty. Raises ReplayFailed if none comes in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if answer := await found():
                return answer
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
        blackouts = {blackout.id for blackout in plan.blackouts}
        return await self._until(
            "the experiment to be registered", partial(self._answers.registered, plan.experiment.name, blackouts)
        )

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

        async def informed() -> bool:
            await self._answers.read_log()
            missing = len(self._uninformed(shop, day, days))
            if self.first_assignment_seconds is None and missing < len(experiment.units):
                self.first_assignment_seconds = time.monotonic() - self._started
                plan.on_first_assignment(self.first_assignment_seconds)
            # A guardrail may act between the first and the last zone's midnight: the rest of the day has no arms.
            return not missing or bool(self._answers.guardrail_changes())

        def missing() -> str:
            units = self._uninformed(shop, day, days)
            named = ", ".join(units[:UNITS_NAMED])
            return (
                f"the assignments of {day}: {len(units)} of {len(experiment.units)} units have none, among them {named}"
            )

        if running:
            await self._until(missing, informed)
        if experiment.guardrails and (number >= plan.before + NOT_YET_CLOSED or self._answers.guardrail_changes()):
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
        through = day - NOT_YET_CLOSED * ONE_DAY
        watched = [(guardrail.metric, arm.name) for guardrail in experiment.guardrails for arm in experiment.arms[1:]]
        await self._until(
            f"the running sequences through {through}", partial(self._answers.sequences_through, through, watched)
        )
        latest = self._answers.sequences
        arms = len(experiment.arms) - 1
        breaches = [
            guardrail
            for guardrail in experiment.guardrails
            for arm in experiment.arms[1:]
            if first_breach(guardrail, latest[guardrail.metric, arm.name], arms) is not None
        ]
        if not breaches:
            return

        async def acted() -> bool:
            await self._answers.read_log()
            reverted = breaches[0].on_breach == "revert"
            return bool(self._answers.guardrail_changes()) and not (reverted and shop.treated(experiment.units, at))

        await self._until(f"the guardrail on {breaches[0].metric} to act", acted)
        action = self._answers.guardrail_changes()[0].action
        self.ended = Ended(day, action, breaches[0].metric, (day - experiment.start).days, experiment.days)

    async def _rivals_move(self, rivals: Rivals, shop: Shop, number: int, start: datetime) -> None:
        """Rivals' prices of a day, wave by wave; returns once every trigger is answered and what begins today has."""
        experiment = rivals.experiment
        day, at = experiment.start + timedelta(days=number - self.plan.before), start + RIVALS_SEEN
        for wave in rivals.move(number, at):
            await self.send(COMPETITOR_PRICE, [plain(price) for price in wave.prices])
            await self._until(
                f"the answers to {len(wave.triggers)} triggers of {day}", partial(self._answers.answered, wave.triggers)
            )
        beginning = {
            m.cluster: m
            for m in self._answers.log.messages
            if isinstance(m, Entered) and m.first_day == day and m.starts_at > start
        }
        if not beginning:
            return
        await self.tick(at)

        async def begun() -> bool:
            await self._answers.read_log()
            return all(
                shop.assignments.arm(unit, beginning[cluster].starts_at) == beginning[cluster].arm
                for unit, cluster in rivals.clusters.items()
                if cluster in beginning
            )

        await self._until(f"{len(beginning)} entries to begin on {day}", begun)

    async def _closed_up_to(self, number: int, day: date) -> bool:
        """Whether every market has closed the period that lies PERIODS_AHEAD back."""
        await self._answers.dead.poll(0)
        closed = await self._answers.closed([market.name for market in self.markets], day - PERIODS_AHEAD * ONE_DAY)
        return closed or number < PERIODS_AHEAD

    async def _report(self, number: int, day: date, flips: int) -> None:
        answers = self._answers
        await answers.read_log()
        latest = of_units_sold(await answers.estimates.poll(1), self.plan.experiment) or self._shown
        self._shown = latest[-1:]
        await answers.read_findings()
        sequence = sequence_of_units_sold(answers.findings.messages, self.plan.experiment)
        if self.plan.on_progress is not None:
            self.plan.on_progress(
                Progress(
                    period=number + 1,
                    periods=len(self.plan.history.periods),
                    day=day,
                    events=self.events_in,
                    flips=flips,
                    blocked=sum(m.arm != m.planned_arm for m in answers.assignments[day].values()),
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
        await self._until("the release of all units to control", partial(self._answers.released, experiment))
        await self._until(f"the estimates through {last}", partial(self._answers.estimated, last))
        return await self._result(registered, shop)

    async def _day_closes(self, day: date) -> None:
        """It is so late on this day, everywhere, that the day before it is closed."""
        ends = max(span.start for span in self._days(day).values())
        await self.tick(ends + timedelta(seconds=self.settings.lateness_seconds + 60))

    async def _finish_early(self, registered: Registered, shop: Shop, day: date) -> Result:
        """All is on control: let the days that were played close."""
        await self._day_closes(day)
        wanted, markets = day - ONE_DAY, [market.name for market in self.markets]
        await self._until(f"the closing of {wanted}", partial(self._answers.closed, markets, wanted))
        return await self._result(registered, shop)

    async def _result(self, registered: Registered, shop: Shop) -> Result:
        """What was read to its end, judged."""
        answers = self._answers
        await answers.drain()
        start, before = registered.experiment.start, self.plan.before
        return judged(
            registered,
            log=answers.log.messages,
            panel=answers.panel.messages,
            estimates=answers.estimates.messages,
            shown={(unit, start + (number - before) * ONE_DAY): arm for (unit, number), arm in shop.observed.items()},
            blackouts=self.plan.blackouts,
            rivals=[] if self._rivals is None else self._rivals.seen,
            listed={entry.unit: entry.list_price_minor for entry in self.plan.history.catalog},
            truth=self.plan.truth(registered.experiment.units),
            events_in=self.events_in,
            dead_lettered=len(answers.dead.others),
            seconds=round(time.monotonic() - self._started, 3),
            first_assignment_seconds=self.first_assignment_seconds,
            findings=answers.findings.messages,
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
