"""The composition root of a worker: the only file that knows all concrete parts."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import faust
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from faust.tables.manager import TableManager
from mode import Service

from controller.messages.codec import ce_type, message_of
from controller.messages.events import CE_TYPES, Tick
from controller.messages.topics import COMPETITOR_PRICE, MAX_RECORD_BYTES, SALE, TICK
from streams.control.catalog import Catalog
from streams.control.control_agents import add_agents
from streams.flips.guardrail_actions import Guard
from streams.inputs.consumer import Ingest
from streams.inputs.published_sales import Publications
from streams.inputs.recount import Recount
from streams.kafka.connection import connection, reach_kafka, stop_client
from streams.kafka.reading import begin, reader
from streams.ownership.owner import Owner
from streams.runtime.clock import Clock, TickClock, WallClock
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore
from streams.worker.clock_skew import BrokerClocks, before_any_work
from streams.worker.group_membership import heartbeat_ms
from streams.worker.heartbeat import Pulse
from streams.worker.metrics import Metrics
from streams.worker.probes import serve_probes
from streams.worker.services import Parts
from streams.worker.watchdog import look_after

Duty = Callable[[asyncio.Event], Awaitable[None]]
#: how long a duty may take to end its turn
STOP_SECONDS = 8.0
#: and Faust with its agents
APP_STOP_SECONDS = 5.0
#: the duties that must each have had a turn before a worker is ready
TURNS = ("owner", "sale", "competitor-price")


@dataclass(frozen=True, slots=True)
class Watch:
    """How the duties of a worker are: one that is over sets ``stop``, and tells here if something went wrong."""

    stop: asyncio.Event
    faults: list[BaseException] = field(default_factory=list)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def build_parts(settings: Settings, name: str) -> AsyncIterator[Parts]:
    """Connect to Kafka and Redis; raises CannotReach with the address of whatever does not answer in time."""
    async with AsyncExitStack() as stack:
        await reach_kafka(settings)
        store = RedisStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
        stack.push_async_callback(store.close)
        await store.reach(settings.connect_timeout_seconds)
        arguments = connection(settings)
        producer = await started(stack, arguments, name)
        # A tenth of the bytes for less time than it takes to send them. Not what pricing systems read: their client
        # does without a decompressor.
        packing = await started(stack, arguments, f"{name}-packing", compression_type="snappy")
        clock: Clock = TickClock() if settings.clock == "ticks" else WallClock()
        log = structlog.get_logger().bind(worker=name)
        pulse = Pulse(patience=settings.stuck_seconds)
        metrics = Metrics()
        metrics.ready.set_function(lambda: float(pulse.why_not_ready() is None))
        yield Parts(settings, clock, store, producer, metrics, log, name, arguments, pulse, packing)


async def started(stack: AsyncExitStack, arguments: Mapping[str, Any], client: str, **more: Any) -> AIOKafkaProducer:
    """A producer that loses and doubles nothing while the stack is open."""
    producer = AIOKafkaProducer(
        **arguments,
        client_id=client,
        acks="all",
        enable_idempotence=True,
        # What is published together is sent together all the same: it is handed over without a pause.
        linger_ms=0,
        max_batch_size=256 * 1024,
        max_request_size=MAX_RECORD_BYTES,
        **more,
    )
    await producer.start()
    stack.push_async_callback(stop_client, producer)
    return producer


class NoTables(TableManager):
    """Faust waits a second at every start for tables to be declared; there are none to wait for."""

    async def sleep(self, n: Any) -> None:
        await super().sleep(0)


def build_app(
    parts: Parts,
    catalog: Catalog,
    duties: Sequence[Duty],
    watch: Watch,
    scratch: str,
) -> faust.App:
    """A Faust app with the agents and, in the same worker, the batch duties as services.

    The settings are those that hold what they promise: at least once, no tables, no web server, no leader topic.
    """
    settings = parts.settings
    app = faust.App(
        parts.topic("flipside"),
        broker=[f"aiokafka://{address}" for address in settings.kafka.split(",")],
        broker_credentials=faust_credentials(settings),
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.worker_id or None,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        broker_commit_interval=1,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=heartbeat_ms(settings.session_timeout_ms) / 1000,
        broker_request_timeout=60,
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=settings.partitions,
        # Faust makes folders for its tables at every start, used or not: never where the user happens to stand.
        datadir=scratch,
        TableManager=NoTables,
        worker_redirect_stdouts=False,
        web_enabled=False,
        web_tables_enabled=False,
        web_router_enabled=False,
    )
    add_agents(app, parts, catalog)
    for duty in duties:
        app.service(_service(duty, watch))
    return app


def faust_credentials(settings: Settings) -> object | None:
    """Faust's own spelling of the connection's security."""
    arguments = connection(settings)
    context = arguments.get("ssl_context")
    if settings.kafka_security_protocol == "SSL":
        return faust.SSLCredentials(context=context)
    if settings.kafka_security_protocol in ("SASL_SSL", "SASL_PLAINTEXT"):
        return faust.SASLCredentials(
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            mechanism=arguments["sasl_mechanism"],
            ssl_context=context,
        )
    return None


def _service(duty: Duty, watch: Watch) -> type[Service]:
    """A duty as a mode service: once one is over, for whatever reason, the worker stops and the others take over."""

    class DutyService(Service):
        @Service.task
        async def _run(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            watch.under_way.add(task)
            try:
                await duty(watch.stop)
            except Exception as error:  # noqa: BLE001 - told by `run_worker`, which ends with it
                watch.faults.append(error)
            finally:
                watch.stop.set()

    return DutyService


async def follow_ticks(parts: Parts, clock: TickClock, stop: asyncio.Event) -> None:
    """Move the tick clock: reads one partition of the tick topic, because a tick is written to all of them."""
    consumer = reader(parts.connection, parts.settings)
    await consumer.start()
    try:
        await begin(consumer, [TopicPartition(parts.topic(TICK), 0)])
        while not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=int(parts.settings.poll_seconds * 1000))).values():
                for record in records:
                    tick = message_of(record) if ce_type(record.headers) == CE_TYPES[Tick] else None
                    if isinstance(tick, Tick):
                        clock.advance(tick.at)
    finally:
        await stop_client(consumer)


async def run_worker(
    settings: Settings,
    name: str,
    stop: asyncio.Event,
    on_ready: Callable[[], None] | None = None,
    fitted: Callable[[Parts], Parts] = lambda parts: parts,
) -> None:
    """Run one worker until ``stop`` is set; returns when everything it held is let go.

    ``fitted`` may put other adapters in the place of the parts that were built: another clock, a store that is slow.
    """
    with TemporaryDirectory(prefix="flipside-worker-") as scratch:
        async with build_parts(settings, name) as parts:
            await _run(fitted(parts), scratch, stop, on_ready)


def collect_seldom() -> None:
    """Tune Python's collector for a process that holds a catalog for good and makes thousands of short-lived sales.

    By default every 70,000 new objects cost a walk over all that live: a quarter of the time of a fold.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _run(parts: Parts, scratch: str, stop: asyncio.Event, on_ready: Callable[[], None] | None) -> None:
    settings = parts.settings
    catalog = Catalog(parts)
    await catalog.start()
    collect_seldom()
    try:
        brokers = BrokerClocks(parts)
        await before_any_work(parts, brokers)
        publications = Publications(parts, catalog)
        mend = Recount(parts, catalog, publications).mend
        duties: list[Duty] = [
            Owner(parts, catalog, publications).run,
            Ingest(parts, catalog, SALE, mend=mend).run,
            Ingest(parts, catalog, COMPETITOR_PRICE, mend=mend).run,
            Guard(parts).run,
            partial(look_after, parts),
        ]
        parts.pulse.expect(TURNS)
        clock = parts.clock
        if settings.clock == "wall":
            duties.append(brokers.run)
        if isinstance(clock, TickClock):
            duties.append(partial(follow_ticks, parts, clock))
        if settings.metrics_port:
            serve_probes(settings.metrics_host, settings.metrics_port, parts.metrics.registry, parts.pulse)
        watch = Watch(stop)
        app = build_app(parts, catalog, duties, watch, scratch)
        await app.start()
        parts.log.info("worker started", kafka=settings.kafka, namespace=settings.namespace, clock=settings.clock)
        if on_ready is not None:
            on_ready()
        await stop.wait()
        # Each duty ends at the end of its turn; Faust would cut it off in the middle.
        if watch.under_way:
            await asyncio.wait(watch.under_way, timeout=STOP_SECONDS)
        # Faust says goodbye to its group for a minute where nobody answers; what it has read is read again.
        done, _ = await asyncio.wait([asyncio.create_task(app.stop())], timeout=APP_STOP_SECONDS)
        for ended in done:
            ended.result()
        if watch.faults:
            raise watch.faults[0]
    finally:
        await catalog.stop()
