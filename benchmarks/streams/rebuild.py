"""How long a Redis that was emptied under a running worker takes to be rebuilt: seconds for each 10,000 units.

The log holds an experiment that has run for some weeks over all units, the panel its closed unit-days, the sale topic
the days that may still change: the history of a real installation up to now, each record with the timestamp of its day,
and the checkpoint that its workers had made last, a whole evening and a whole closing ago. Redis is emptied with
FLUSHALL; the clock runs until every shard and every input is whole again, the second included in which nobody has
noticed yet. Then log, topics and Redis are compared, from the first record on.

Run: python -m benchmarks.streams.rebuild [units] [--days N] [--runs N] [--at-once] [--whole] [--profile FILE]
[--json]. Starts
a Kafka and a Redis of its own; waits before each run until what the last one has read is forgotten, unless
``--at-once``. With ``--whole`` there is no checkpoint, and the whole log is read. The peer in the same run is a bare
reader of all there is: getmany until the end, nothing decoded, nothing kept.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as At
from redis import Redis

from benchmarks.streams.installation import cpu_seconds, machine, noon_zone, start_worker
from controller.definition.experiment import Arm, Experiment, Market, PriceRule, RandomDays, design_hash
from controller.definition.field_types import market_of, milliseconds
from controller.messages.checkpoints import Checkpoint, KnownExperiment
from controller.messages.codec import Record, encode
from controller.messages.events import Assignment, PeriodClosed, Reason, Registered, UnitDay
from controller.messages.inputs import CatalogEntry, Sale
from controller.messages.topics import ASSIGNMENT, ASSIGNMENT_LOG, CATALOG, CHECKPOINT, MAX_RECORD_BYTES, PANEL, SALE
from controller.time.periods import Period, period
from flipside.checks.state_comparison import differences
from flipside.simulated_shop.shop import plain
from streams.embedded.processes import Sandbox
from streams.inputs import published_sales
from streams.kafka.topics import create_topics
from streams.recovery import rebuild
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore
from streams.worker.services import PACKED, partition_of
from tests.e2e.running import Servers
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

MARKETS, REVISION_DAYS = 20, 3
PATIENCE_SECONDS = 300.0
#: a record, and its timestamp
Dated = tuple[Record, datetime]


@dataclass(frozen=True)
class History:
    """An experiment of some days, the last of which is today."""

    units: list[str]
    days: int
    time_zone: str
    today: date

    def period(self, number: int) -> Period:
        return period(self.today - timedelta(days=self.days - 1 - number), self.time_zone)

    @property
    def markets(self) -> list[str]:
        return sorted({market_of(unit) for unit in self.units})

    @property
    def closed(self) -> int:
        """Days that are over, and published."""
        return self.days - 1

    @property
    def experiment(self) -> Experiment:
        return Experiment(
            name="bench", currency="USD", units=tuple(self.units), clusters="market", design=RandomDays(),
            start=self.period(0).day, days=self.days + 30, seed="s",
            arms=(Arm(name="control"), Arm(name="higher", price=PriceRule.model_validate_json('{"percent": "5"}'))),
            markets=tuple(Market(name=m, time_zone=self.time_zone) for m in self.markets),
        )  # fmt: skip


def assignments(history: History, committed: str, numbers: Iterable[int]) -> Iterator[Assignment]:
    for number in numbers:
        local = history.period(number)
        for place, unit in enumerate(history.units):
            arm = ("control", "higher")[(place + number) % 2]
            yield Assignment(
                id=f"bench.1/{local.day}/{unit}", unit=unit, cluster=market_of(unit), experiment="bench",
                experiment_version=1, design_hash=committed, block=number, day=local.day, arm=arm, planned_arm=arm,
                price_minor=199, currency="USD", effective_at=local.start, expires_at=local.end,
                decided_at=local.start - timedelta(hours=1), epoch=0, sequence=number * len(history.units) + place + 1,
                reason=Reason(code="scheduled"),
            )  # fmt: skip


def panel(
    history: History, numbers: Iterable[int], positions: dict[int, int], starts: dict[int, int]
) -> Iterator[Dated]:
    for number in numbers:
        local = history.period(number)
        at = local.end + timedelta(minutes=15)
        for unit in history.units:
            row = UnitDay(
                unit=unit, day=local.day, starts_at=local.start, ends_at=local.end, quantity=1, revenue_minor=199,
                cost_minor=None, currency="USD", events=1, revision=0,
                offset=positions[partition_of(unit.encode(), len(positions))],
            )  # fmt: skip
            yield encode(row, f"{unit}/{local.day}/0", at), at
        for market in history.markets:
            closing = PeriodClosed(
                market=market, day=local.day, watermark=local.end, offsets={}, unit_days=1, events=1, revised=0,
                revision=0, recount={str(p): offset for p, offset in starts.items()},
            )  # fmt: skip
            yield encode(closing, f"{market}/{local.day}/0", at), at


def sales(history: History, first: int) -> Iterator[Sale]:
    for number in range(first, history.days):
        noon = history.period(number).start + timedelta(hours=12)
        for unit in history.units:
            yield Sale(id=f"{unit}/{number}", unit=unit, occurred_at=noon, quantity=1, price_minor=199, currency="USD")


def checkpoints(history: History, committed: str, shards: int, positions: dict[str, int]) -> Iterator[Record]:
    """What the owners of shards have put down before the last evening."""
    decided, closed = history.closed - 1, history.closed - 2
    local, at = history.period(decided), history.period(decided).end - timedelta(hours=2)
    known = KnownExperiment(experiment=history.experiment, design_hash=committed, state="scheduled", frozen=False)
    yield encode(known, known.key, at)
    for shard in range(shards):
        markets = [market for market in history.markets if partition_of(market.encode(), shards) == shard]
        held = [a for a in assignments(history, committed, [decided]) if market_of(a.unit) in markets]
        checkpoint = Checkpoint(
            shard=shard, epoch=0, made_at=at, positions=positions, tick=0,
            sequence=max((a.sequence for a in held), default=0),
            units={
                a.unit: ("bench.1", a.day.toordinal(), a.arm, a.arm == "control", milliseconds(local.start),
                         milliseconds(local.end), a.price_minor, a.sequence, 0)
                for a in held
            },
            plans={f"bench.1/{market}": (local.day.toordinal(), False) for market in markets},
            closed={market: (history.period(closed).day.toordinal(), 0) for market in markets},
            experiments={"bench": (1, 0)},
        )  # fmt: skip
        yield encode(checkpoint, checkpoint.key, at)


def prepare(settings: Settings, history: History, checkpointed: bool) -> dict[str, int]:
    """Write the history as the workers would have; returns how many records there are of what."""
    committed = design_hash(history.experiment)
    shared = {"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 5_000_000, "linger.ms": 20}
    # A batch as large as the worker's.
    plain_ones = Producer({**shared, "batch.size": 256 * 1024, "message.max.bytes": MAX_RECORD_BYTES})
    packing = Producer({**shared, "batch.size": 256 * 1024, "compression.type": "snappy"})
    counts: dict[str, int] = {}

    def send(topic: str, records: Iterable[Dated]) -> None:
        name, producer = settings.prefixed(topic), packing if topic in PACKED else plain_ones
        for record, at in records:
            home = partition_of(record.key or b"", settings.partitions)
            headers: list[Any] = list(record.headers)
            producer.produce(name, record.value, record.key, home, headers=headers, timestamp=milliseconds(at))
            counts[topic] = counts.get(topic, 0) + 1
            if counts[topic] % 5000 == 0:
                producer.poll(0)
        assert producer.flush(120) == 0

    def ends() -> dict[str, int]:
        places = [(name, t, p) for t, name in rebuild.NOTED.items() for p in range(settings.partitions)]
        asker = Consumer({"bootstrap.servers": settings.kafka, "group.id": "rebuild-benchmark"})
        found = {f"{n}:{p}": asker.get_watermark_offsets(At(settings.prefixed(t), p), 30)[1] for n, t, p in places}
        asker.close()
        return found

    def decided(numbers: Iterable[int]) -> Iterator[Dated]:
        return ((encode(a, a.id, a.decided_at), a.decided_at) for a in assignments(history, committed, numbers))

    begins = history.period(0).start - timedelta(days=2)
    listed = (CatalogEntry(unit=u, time_zone=history.time_zone, currency="USD", list_price_minor=199)
              for u in history.units)  # fmt: skip
    send(CATALOG, ((plain(entry), begins) for entry in listed))
    registered = Registered(
        id="bench.1/registered", experiment=history.experiment, design_hash=committed, registered_at=begins
    )
    # The sale topic begins with the days that may still change, so each of its partitions starts to be counted at 0.
    first = max(0, history.closed - REVISION_DAYS)
    send(SALE, ((plain(sale), sale.occurred_at) for sale in sales(history, first)))
    homes = [partition_of(unit.encode(), settings.partitions) for unit in history.units]
    positions = {p: homes.count(p) * (history.closed - first) for p in range(settings.partitions)}
    starts = dict.fromkeys(positions, 0)
    send(ASSIGNMENT_LOG, [(encode(registered, registered.id, begins), begins)])
    send(ASSIGNMENT_LOG, decided(range(history.days - 1)))
    send(PANEL, panel(history, range(history.closed - 1), positions, starts))
    if checkpointed:
        send(CHECKPOINT, ((r, begins) for r in checkpoints(history, committed, settings.partitions, ends())))
    send(ASSIGNMENT_LOG, decided([history.days - 1]))
    send(ASSIGNMENT, decided([history.days - 1]))
    send(PANEL, panel(history, [history.closed - 1], positions, starts))
    return counts


async def whole(settings: Settings, store: RedisStore, alive: Callable[[], None]) -> None:
    """Wait until every shard and every input is there."""
    deadline, every = time.monotonic() + PATIENCE_SECONDS, range(settings.partitions)
    while True:
        shards = [bool(await store.restoring.log_positions(shard)) for shard in every]
        inputs = [await store.restoring.with_position(t, [p]) for t in ("sale", "competitor-price") for p in every]
        if all(shards) and all(inputs):
            return
        alive()
        assert time.monotonic() < deadline, f"not rebuilt after {PATIENCE_SECONDS:g} s"
        await asyncio.sleep(0.01)


async def bare(settings: Settings) -> tuple[float, float]:
    """Seconds to read the same topics and do nothing, and those of the processor."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        names = [settings.prefixed(topic) for topic in (ASSIGNMENT_LOG, PANEL, SALE)]
        places = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        began, used = time.perf_counter(), time.process_time()
        while any([await consumer.position(p) < ends[p] for p in places]):
            await consumer.getmany(timeout_ms=100)
        return time.perf_counter() - began, time.process_time() - used
    finally:
        await consumer.stop()


def read_records(log: str) -> dict[str, int]:
    """What the worker says that its last rebuild has read."""
    said = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    rebuilt = [line for line in said if line.get("event") == "rebuilt"]
    recounted = [line for line in said if line.get("event") == "recounted"]
    by_partition = {line["partition"]: line["records"] for line in recounted if line["topic"] == "sale"}
    return {
        "of the log": rebuilt[-1]["records"] if rebuilt else 0,
        "of what is published": rebuilt[-1]["published"] if rebuilt else 0,
        "sales": sum(by_partition.values()),
    }


async def measure(
    kafka: str, redis: str, number: int, days: int, times: int, forgotten: bool, checkpointed: bool, profile: str
) -> dict[str, Any]:
    settings = Servers(kafka, redis).settings("rebuild", revision_days=REVISION_DAYS, clock="wall")
    await create_topics(settings)
    units = [f"store-{k % MARKETS}/product-{k // MARKETS}" for k in range(number)]
    zone = noon_zone(datetime.now(UTC))
    history = History(units, days, zone, datetime.now(ZoneInfo(zone)).date())
    counts = await asyncio.to_thread(prepare, settings, history, checkpointed)
    store = RedisStore(redis, settings.namespace, settings.partitions)
    server: Redis = Redis.from_url(redis)
    with Sandbox("flipside-rebuild-") as sandbox:
        worker = start_worker(sandbox, settings, profile=profile)

        def alive() -> None:
            assert worker.running(), worker.tail()

        # Its Redis is empty: the first thing that it does is a rebuild.
        await whole(settings, store, alive)
        runs, cpu = [], []
        for _ in range(times):
            if forgotten:
                # What the last rebuild has read is kept for a while: this one shall read it anew.
                await asyncio.sleep(max(published_sales.KEEP_SECONDS, rebuild.KEEP_SECONDS) + 2 * rebuild.NOTE_SECONDS)
            began, used = time.perf_counter(), cpu_seconds(worker.pid)
            await asyncio.to_thread(server.flushall)
            await whole(settings, store, alive)
            runs.append(time.perf_counter() - began)
            cpu.append(cpu_seconds(worker.pid) - used)
        read, (found, _) = read_records(worker.tail(1_000_000)), await differences(settings)
        worker.stop()
    units_held = sum([len(await store.restoring.held(shard)) for shard in range(settings.partitions)])
    await store.close()
    server.close()
    assert units_held == number
    seconds, reader = sorted(runs)[len(runs) // 2], await bare(settings)
    return {
        "machine": machine(),
        "units": number,
        "days_in_the_log": days,
        "log_records": counts[ASSIGNMENT_LOG],
        "panel_records": counts[PANEL],
        "sales_counted_again": counts[SALE],
        "with_checkpoint": checkpointed,
        "records_read": read,
        "seconds": [round(run, 2) for run in runs],
        "worker_cpu_seconds": [round(used, 2) for used in cpu],
        "seconds_for_10000_units": round(seconds * 10_000 / number, 2),
        "bare_reader_seconds": round(reader[0], 2),
        "bare_reader_cpu_seconds": round(reader[1], 2),
        "differences_afterwards": len(found),
        "first_differences": [str(difference) for difference in found[:5]],
    }


def main(arguments: list[str]) -> int:
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    days, times = 28, 3
    if "--days" in arguments:
        days = int(arguments[arguments.index("--days") + 1])
        numbers.remove(days)
    if "--runs" in arguments:
        times = int(arguments[arguments.index("--runs") + 1])
        numbers.remove(times)
    forgotten, checkpointed = "--at-once" not in arguments, "--whole" not in arguments
    profile = arguments[arguments.index("--profile") + 1] if "--profile" in arguments else ""
    with Kafka() as kafka, RedisServer() as redis:
        found = asyncio.run(
            measure(
                kafka.address,
                redis.url,
                numbers[0] if numbers else 10_000,
                days,
                times,
                forgotten,
                checkpointed,
                profile,
            )
        )
    if "--json" in arguments:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:24} {value}")
    return 0 if not found["differences_afterwards"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
