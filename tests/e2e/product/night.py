"""The night's drill: what metrics and logs say within a minute when a clock is wrong, or everybody was away.

Real Kafka, Redis, workers and analysis, in processes of their own. Workers get another adapter of the clock port, and
Redis' time is read through it: they are behind the brokers or ahead of them, and go on to the next morning when told.
Not by libfaketime: neither Kafka's Java nor Redis' jemalloc bears it.

    python -m tests.e2e.product.night --write benchmarks/results/night_drill.json
    python -m tests.e2e.product.night_table
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.messages.codec import encode
from controller.messages.inputs import Applied, CatalogEntry, Sale
from controller.messages.topics import APPLIED, CATALOG, DEAD_LETTER, DEFINITION, SALE
from controller.time.periods import local_day, period_at
from flipside.replay.processes import Child
from flipside.serve import serve, worker_name
from flipside_client import Assignments
from streams.app import run_worker
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.store.redis.store import RedisStore
from streams.worker.services import Parts
from tests.e2e.running import Servers, records
from tests.parts.kafka import Kafka
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer

UNITS = tuple(f"store-{k}/{product}" for k in range(4) for product in ("tea", "coffee", "juice"))
#: minutes by which the brokers' clocks are ahead
SKEWS = (0, 1, 10, 60, -1, -10, -60)
#: so long before the announcements are due, of the house's time, an experiment is submitted
SUBMITTED_BEFORE = timedelta(minutes=5)
DAY = timedelta(days=1)
#: the horizon of every wait; what is recorded is how long it took
PATIENCE_SECONDS = 90.0
#: metrics that the table shows
SHOWN = (
    "flipside_clock_difference_seconds",
    'flipside_flips_total{outcome="flipped"}',
    'flipside_flips_total{outcome="late"}',
    "flipside_announcements_late_total",
    *(f'flipside_units{{why="{why}"}}' for why in ("assigned", "control", "lapsed")),
    "flipside_undelivered_market_days_total",
    "flipside_lease_remaining_seconds",
    "flipside_ready",
)
CLOCK = 'flipside_clock_difference_seconds{part="kafka"}'
#: log lines that say something of a night. That clocks differ says nothing where the house's goes on to the next day
#: without the brokers'.
DIFFERS = "brokers' clock differs"
EVENTS = ("late", DIFFERS, "units lapsed", "dead letter", "check fails")
Condition = Callable[[], Awaitable[bool]]


class Clocks:
    """The house's clock, which all processes but the brokers show: real time and a shift, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def set(self, instant: datetime) -> None:
        """From now on it is this instant in the house."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(repr((instant - datetime.now(UTC)).total_seconds()))
        draft.rename(self.file)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift()

    def shift(self) -> timedelta:
        return timedelta(seconds=float(self.file.read_text()))

    def at_brokers(self, instant: datetime) -> datetime:
        """What is announced for an instant is to be with the brokers before it, by their clocks, right or wrong."""
        return instant


class HouseStore(RedisStore):
    """A Redis that shows the house's time."""

    clocks: Clocks

    async def time(self) -> datetime:
        return await super().time() + self.clocks.shift()


def on_house_time(parts: Parts, clocks: Clocks) -> Parts:
    settings = parts.settings
    store = HouseStore(settings.redis.get_secret_value(), settings.namespace, settings.partitions)
    store.clocks = clocks
    return replace(parts, clock=clocks, store=store)


def work() -> None:
    """`flipside worker`, on the house's clock."""
    settings, clocks = Settings(), Clocks(Path(os.environ["NIGHT_CLOCK"]))
    serve(settings, lambda stop: run_worker(settings, worker_name(), stop, fitted=lambda p: on_house_time(p, clocks)))


@dataclass
class Night:
    """One installation: its workers and its analysis, on the house's clock."""

    clocks: Clocks
    settings: Settings
    folder: Path
    children: dict[str, Child] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FLIPSIDE_KAFKA": self.settings.kafka,
            "FLIPSIDE_REDIS": self.settings.redis.get_secret_value(),
            "FLIPSIDE_NAMESPACE": self.settings.namespace,
            "FLIPSIDE_PARTITIONS": str(self.settings.partitions),
            "FLIPSIDE_SESSION_TIMEOUT_MS": "6000",
            "FLIPSIDE_FETCH_WAIT_MS": str(self.settings.fetch_wait_ms),
            "NIGHT_CLOCK": str(self.clocks.file),
            "PYTHONPATH": str(Path.cwd()),
        }

    async def start(self, name: str, command: str = "worker") -> None:
        self.ports[name] = free_port()
        more = {"FLIPSIDE_METRICS_PORT": str(self.ports[name])}
        module = "tests.e2e.product.night" if command == "worker" else "flipside"
        child = Child(f"{name}-{self.ports[name]}", [command], self.environment | more, self.folder, module)
        self.children[name] = child
        await child.start()

    async def stop(self, *names: str) -> None:
        for name in names or tuple(self.children):
            await self.children.pop(name).stop()
            del self.ports[name]

    async def metrics(self, *names: str) -> dict[str, float]:
        """The samples of some processes: summed, but for what each of them says alike."""
        found: dict[str, float] = {}
        for name in names or tuple(self.ports):
            for sample, value in (await asyncio.to_thread(scraped, self.ports[name])).items():
                least = sample.startswith(("flipside_lease", "flipside_ready"))
                known = found.get(sample)
                if known is None:
                    found[sample] = value
                elif sample.startswith("flipside_clock"):
                    found[sample] = max(known, value, key=abs)
                else:
                    found[sample] = min(known, value) if least else known + value
        return found

    async def value(self, sample: str) -> float:
        return (await self.metrics()).get(sample, 0.0)

    def events(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for child in self.children.values():
            for line in child.tail(10_000_000).splitlines():
                if line.startswith("{"):
                    found[str(json.loads(line).get("event"))] += 1
        return found

    def line(self, event: str) -> dict[str, Any]:
        """The last log line of an event."""
        said = [line for child in self.children.values() for line in child.tail(10_000_000).splitlines()]
        found = [json.loads(line) for line in said if line.startswith("{") and f'"event": "{event}"' in line]
        left_out = ("timestamp", "worker", "partition", "offset", "entry")
        return {k: v for k, v in found[-1].items() if k not in left_out} if found else {}

    async def submit(self, start: date, lead: timedelta) -> None:
        """As `flipside experiment submit` does, which would ask its machine's clock first."""
        experiment = Experiment(
            name="night",
            currency="EUR",
            units=UNITS,
            clusters="unit",
            arms=(Arm(name="control"), Arm(name="cheaper", price=PriceRule(percent=Decimal(-5)))),
            start=start,
            days=7,
            seed="night",
            lead_minutes=int(lead.total_seconds() // 60),
        )
        await self.send(DEFINITION, experiment)

    async def send(self, topic: str, *messages: CatalogEntry | Sale | Applied | Experiment) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka)
        await producer.start()
        try:
            for message in messages:
                record = encode(message, uuid4().hex, datetime.now(UTC))
                await producer.send_and_wait(
                    self.settings.prefixed(topic), key=record.key, value=record.value, headers=record.headers
                )
        finally:
            await producer.stop()


def scraped(port: int) -> dict[str, float]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    rows = re.findall(r"^(flipside\S*(?:\{[^}]*\})?) (\S+)$", text, flags=re.MULTILINE)
    return {name: float(value) for name, value in rows}


async def until(what: str, condition: Condition) -> float:
    """Wait for a condition; the seconds that it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < PATIENCE_SECONDS, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        await asyncio.sleep(0.2)
    return round(time.monotonic() - began, 1)


def zone_near_midnight(now: datetime, ahead: timedelta) -> tuple[str, datetime]:
    """A time zone whose next midnight lies a quarter of an hour to five quarters after the announcements, and that one.

    Where the brokers are an hour ahead: less than an hour after, so that to them it is over.
    """
    least = SUBMITTED_BEFORE + timedelta(minutes=0.5 if ahead >= timedelta(hours=1) else 15)
    for hours in range(-11, 13):
        name = f"Etc/GMT{hours:+d}"
        midnight = period_at(now, name).end
        if least <= midnight - now < least + timedelta(hours=1):
            return name, midnight
    raise AssertionError("every whole hour is midnight somewhere")


async def grown(began: float, seconds: float) -> bool:
    return time.monotonic() - began > seconds


@asynccontextmanager
async def evening(kafka: Kafka, clocks: Clocks, ahead: timedelta, name: str) -> AsyncIterator[tuple[Night, datetime]]:
    """Two workers, and an experiment that begins at the next midnight and is announced at once.

    The brokers' clocks are ``ahead`` of the others.
    """
    clocks.set(datetime.now(UTC) - ahead - SUBMITTED_BEFORE)
    zone, midnight = zone_near_midnight(clocks.now(), ahead)
    with RedisServer() as redis, TemporaryDirectory() as folder:
        settings = Servers(kafka.address, redis.url).settings(name, clock="wall")
        night = Night(clocks, settings, Path(folder))
        await create_topics(settings)
        entries = [CatalogEntry(unit=u, time_zone=zone, currency="EUR", list_price_minor=1000) for u in UNITS]
        await night.send(CATALOG, *entries)
        try:
            for worker in ("one", "two"):
                await night.start(worker)

            async def ready() -> bool:
                found = await night.metrics()
                return (found.get("flipside_ready"), found.get("flipside_shards_owned")) == (1.0, settings.partitions)

            await until("both workers", ready)
            await night.submit(local_day(midnight, zone), midnight - clocks.now() - SUBMITTED_BEFORE / 2)

            async def registered() -> bool:
                return await night.value('flipside_experiments{state="scheduled"}') > 0

            await until("the registration", registered)
            clocks.set(datetime.now(UTC) - ahead)
            yield night, midnight
        except BaseException:
            for child in night.children.values():
                print(child.tail(3000), file=sys.stderr)
            raise
        finally:
            await night.stop()


async def broker_off(kafka: Kafka, clocks: Clocks, minutes: int) -> dict[str, Any]:
    """The brokers' clocks are off by so many minutes when tomorrow is announced."""
    ahead = timedelta(minutes=minutes)
    async with evening(kafka, clocks, ahead, f"broker{minutes}") as (night, midnight):
        # The house's clock has just been moved: what was said before is not of this night, nor what is of the morning.
        already, sold_at = night.events(), clocks.now()
        await night.send(
            SALE,
            Sale(id="one", unit=UNITS[0], quantity=1, price_minor=1000, currency="EUR", occurred_at=sold_at),
        )

        async def decided() -> bool:
            found = await night.metrics()
            out = found.get('flipside_units{why="unknown"}', 0) == 0 and not found.get("flipside_outbox_entries")
            return found.get('flipside_flips_total{outcome="flipped"}', 0) > 0 and out

        announced = await until("the announcements", decided)

        async def told() -> bool:
            apart = await night.value(CLOCK)
            return abs(apart - 60 * minutes) < 20

        told_after = await until("the clocks' difference", told)

        async def sale_judged() -> bool:
            found = await night.metrics()
            counted = found.get('flipside_events_total{outcome="counted",topic="sale"}', 0)
            return counted + sum(v for k, v in found.items() if k.startswith("flipside_dead_letters_total")) > 0

        await until("the sale", sale_judged)
        evening_seen, events = await night.metrics(), night.events() - already
        log = {event: night.line(event) for event in EVENTS if events[event]}
        letters = await records(night.settings, DEAD_LETTER)
        morning = midnight + timedelta(hours=8)
        clocks.set(midnight + timedelta(minutes=1))

        async def counted() -> bool:
            found = await night.metrics()
            shown = {k: v for k, v in found.items() if k.startswith("flipside_units{")}
            return sum(shown.values()) == len(UNITS) and not shown.get('flipside_units{why="unknown"}')

        await until("the units of the morning", counted)
        async with Assignments(kafka.address, night.settings.namespace) as client:
            held = [client.assignment(unit, morning) for unit in UNITS]
        found = await night.metrics()
        found["flipside_clock_difference_seconds"] = evening_seen[CLOCK]
        return {
            "scenario": f"broker's clock {minutes:+d} min",
            "seconds": {"announced": announced, "difference shown": told_after},
            "metrics": {name: clean(found.get(name)) for name in SHOWN},
            "events": {event: events[event] for event in EVENTS if events[event]},
            "log": log,
            "clients": dict(Counter(f"{one.arm} ({one.reason})" if one else "nothing" for one in held)),
            "sale": "dead letter" if letters else "counted",
            "reason": next((dict(r.headers)["ce_reasoncode"].decode() for r in letters), None),
        }


async def all_away(kafka: Kafka, clocks: Clocks) -> dict[str, Any]:
    """All workers stop after the announcements, and start again in the middle of the day after next."""
    async with evening(kafka, clocks, timedelta(0), "away") as (night, midnight):

        async def announced() -> bool:
            flipped = await night.value('flipside_flips_total{outcome="flipped"}')
            return flipped > 0 and not await night.value("flipside_outbox_entries")

        await until("the announcements", announced)
        await night.stop()
        clocks.set(midnight + DAY + timedelta(hours=12))
        began = time.monotonic()
        for worker in ("one", "two"):
            await night.start(worker)

        async def lapsed() -> bool:
            return await night.value('flipside_units{why="lapsed"}') == len(UNITS)

        await until("all units to be lapsed", lapsed)
        seconds = round(time.monotonic() - began, 1)

        async def undelivered() -> bool:
            return await night.value("flipside_undelivered_market_days_total") >= 4

        await until("the undelivered days", undelivered)
        found, events = await night.metrics(), night.events()
        return {
            "scenario": "all workers away over a midnight",
            "seconds": {"from the start of the workers": seconds},
            "metrics": {name: clean(found.get(name)) for name in SHOWN},
            "events": {event: events[event] for event in EVENTS if events[event] and event != DIFFERS},
            "log": {"units lapsed": night.line("units lapsed")},
        }


async def analysis_restarted(kafka: Kafka, clocks: Clocks) -> dict[str, Any]:
    """A pricing system ignores its arms, and says so; the analysis finds it, and is started again."""
    async with evening(kafka, clocks, timedelta(0), "analysis") as (night, midnight):

        async def announced() -> bool:
            flipped = await night.value('flipside_flips_total{outcome="flipped"}')
            return flipped > 0 and not await night.value("flipside_outbox_entries")

        await until("the announcements", announced)
        clocks.set(midnight + timedelta(minutes=1))
        await night.start("analysis", "analysis")

        async def ready() -> bool:
            return (await night.metrics("analysis")).get("flipside_ready") == 1.0

        await until("the analysis to be ready", ready)
        reports = [
            Applied(
                id=f"applied-{unit}",
                unit=unit,
                arm="control",
                price_minor=1000,
                applied_at=midnight + timedelta(seconds=5),
                assignment=None,
                system="shelf-labels",
            )
            for unit in UNITS
        ]
        began = time.monotonic()
        await night.send(APPLIED, *reports)
        sample = 'flipside_health_check{check="fidelity-today",experiment="night"}'

        async def failing() -> bool:
            return (await night.metrics("analysis")).get(sample) == 2.0

        await until("fidelity to fail", failing)
        found_after = round(time.monotonic() - began, 1)
        events, failing_line = night.events(), night.line("check fails")
        await night.stop("analysis")
        began = time.monotonic()
        await night.start("analysis", "analysis")
        await until("fidelity to fail still", failing)
        back_after = round(time.monotonic() - began, 1)
        await until("the analysis to be ready", ready)
        await until("a minute more", lambda: grown(began, 75))
        assert await failing(), "it does not clear by itself"
        found = await night.metrics("analysis")
        names = (sample, "flipside_analysis_lag_records", "flipside_ready")
        return {
            "scenario": "a pricing system ignores its arms; the analysis is restarted",
            "seconds": {"from the reports": found_after, "from the restart": back_after},
            "metrics": {name: clean(found.get(name)) for name in names},
            "events": {event: events[event] for event in EVENTS if events[event] and event != DIFFERS},
            "log": {"check fails": failing_line},
        }


def clean(value: float | None) -> float | str | None:
    """JSON knows no infinity."""
    return value if value is None or abs(value) < 1e300 else str(value)


@contextmanager
def stage() -> Iterator[tuple[Kafka, Clocks]]:
    with TemporaryDirectory() as folder, Kafka() as kafka:
        yield kafka, Clocks(Path(folder) / "clock")


async def drill(skews: tuple[int, ...] = SKEWS) -> list[dict[str, Any]]:
    """All scenarios, each in an installation of its own."""
    rows: list[dict[str, Any]] = []
    with stage() as (kafka, clocks):
        for minutes in skews:
            rows.append(await broker_off(kafka, clocks, minutes))
            tell(rows[-1])
        rows.append(await all_away(kafka, clocks))
        tell(rows[-1])
        rows.append(await analysis_restarted(kafka, clocks))
        tell(rows[-1])
    return rows


def tell(row: Mapping[str, Any]) -> None:
    print(json.dumps(row, default=str), file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, default=None)
    parser.add_argument("command", nargs="?", choices=["drill", "worker"], default="drill")
    arguments = parser.parse_args()
    if arguments.command == "worker":
        work()
        sys.exit()
    table = json.dumps(asyncio.run(drill()), indent=1) + "\n"
    if arguments.write:
        arguments.write.write_text(table)
    else:
        print(table)
