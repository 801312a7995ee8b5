"""Memory under floods: what a worker, the analysis and Redis hold while somebody writes an hour's worth of records.

``python -m benchmarks.streams.floods [--share .25] [--only ids] [--write FILE]``. Each flood is as many records as an
hour at its rate brings, sent as fast as they are taken: the hour's records, not the hour. What ages by the clock
(leases, closings, retention) therefore does not age; what grows by records does. The memory is read a minute after
each quarter was taken in, when freed memory has been given back. The slope is that from the first quarter on, because a
process grows to its working size before; beside it that of the second half, which tells what goes on from what levels
off.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.streams.installation import (
    Parts,
    cpu_seconds,
    fill_catalog,
    machine,
    noon_zone,
    publish,
    resident_mb,
    servers,
    start_worker,
    tomorrow,
    unit,
)
from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.parameters import PriceDrop, Triggered
from controller.messages.codec import Record, encode
from controller.messages.control import Kill, LifecycleRequest
from controller.messages.inputs import Applied, Blackout, CompetitorPrice, Sale, Scope
from controller.messages.topics import APPLIED, BLACKOUT, CATALOG, COMPETITOR_PRICE, DEFINITION, SALE
from flipside.freed_memory import EVERY_SECONDS
from flipside.simulated_shop.shop import plain
from flipside.topics import requests
from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.e2e.inputs.messy import worker_environment
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

MARKETS, UNITS, QUARTERS, HOUR = 5, 100, 4, 3600
IDLE_SHARE, IDLE_SECONDS, PATIENCE_SECONDS = 0.15, 2.0, 900.0
KNOWN = [unit(number, MARKETS) for number in range(UNITS)]

#: topic, record
Written = tuple[str, Record]


def competitors(number: int, now: datetime) -> Iterator[Written]:
    """A rival that nobody has heard of before at each price, of units that a rule watches."""
    name = KNOWN[number % UNITS]
    yield COMPETITOR_PRICE, plain(
        CompetitorPrice(id=f"r{number}", unit=name, competitor=f"rival-{number}", observed_at=now, price_minor=900,
                        currency="EUR")
    )  # fmt: skip


def prices(number: int, now: datetime) -> Iterator[Written]:
    """One rival of each unit that moves its price all day."""
    name = KNOWN[number % UNITS]
    yield COMPETITOR_PRICE, plain(
        CompetitorPrice(id=f"p{number}", unit=name, competitor="rival", observed_at=now, currency="EUR",
                        price_minor=1000 + number // UNITS % 7)
    )  # fmt: skip


def units(number: int, now: datetime) -> Iterator[Written]:
    """Units that no catalog has: what went live of them, and what they sold."""
    name = f"nowhere-{number % 1000}/unit-{number}"
    yield APPLIED, plain(Applied(id=f"a{number}", unit=name, arm="low", price_minor=1, applied_at=now, assignment=None))
    yield SALE, plain(sale(number, name, now))


def ids(number: int, now: datetime) -> Iterator[Written]:
    """Sales of one unit and day, each with an id of its own."""
    yield SALE, plain(sale(number, KNOWN[0], now))


def letters(number: int, now: datetime) -> Iterator[Written]:
    """Garbage on three topics in turn, a kilobyte each."""
    yield (SALE, COMPETITOR_PRICE, CATALOG)[number % 3], Record(b"k%d" % number, b"garbage %d " % number * 80, [])


def definitions(number: int, now: datetime) -> Iterator[Written]:
    """Definitions that are refused, requests for what is not registered, switches and windows of new names in turn."""
    at = now + timedelta(days=3)
    if number % 4 == 0:
        yield DEFINITION, plain(definition(f"flood-{number}", ["nowhere/a", "nowhere/b"], now))
    elif number % 4 == 1:
        request = LifecycleRequest(id=f"flood/{number}", experiment=f"flood-{number}", action="stop", role="owner",
                                   who="flood", why="flood", requested_at=now)  # fmt: skip
        yield DEFINITION, encode(request, request.id, now)
    elif number % 4 == 2:
        kill = Kill(id=f"market.flood-{number}", scope="market", name=f"flood-{number}", lifted=False, who="flood",
                    why="flood", requested_at=now)  # fmt: skip
        yield DEFINITION, encode(kill, kill.id, now)
    else:
        scope = Scope(kind="market", name=f"flood-{number}")
        yield BLACKOUT, plain(Blackout(id=f"w{number}", scope=scope, starts_at=now, ends_at=at, reason="flood"))


@dataclass(frozen=True, slots=True)
class Flood:
    """What is written, and how much of it in an hour."""

    of: Callable[[int, datetime], Iterator[Written]]
    rate: int


FLOODS = {
    "competitors": Flood(competitors, 50),
    "prices": Flood(prices, 100),
    "units": Flood(units, 50),
    "ids": Flood(ids, 200),
    "letters": Flood(letters, 50),
    "definitions": Flood(definitions, 1),
}


def sale(number: int, name: str, now: datetime) -> Sale:
    return Sale(id=f"s{number}", unit=name, occurred_at=now, quantity=1, price_minor=100, currency="EUR")


def definition(name: str, of: list[str], now: datetime) -> Experiment:
    first, _ = tomorrow(now, noon_zone(now))
    rule = PriceDrop(kind="price_drop", share="1/2", within_hours=24)
    return Experiment(
        name=name, currency="EUR", units=tuple(of), start=first, days=7, seed="flood",
        arms=(Arm(name="control"), Arm(name="low", price=PriceRule.model_validate_json('{"percent": "-5"}'))),
        design=Triggered(kind="triggered", rule=rule, treatment_days=2),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Installation:
    """Processes that are flooded."""

    settings: Settings
    processes: dict[str, Child]
    redis: Redis

    def megabytes(self) -> dict[str, float]:
        held = {name: round(resident_mb(child.pid), 2) for name, child in self.processes.items()}
        return {**held, "redis": round(self.redis.info("memory")["used_memory"] / 1e6, 2)}

    def settle(self) -> None:
        """Return once nobody works any more, and what was freed has been given back."""
        parts = Parts({name: child.pid for name, child in self.processes.items()})
        deadline, calm = time.monotonic() + PATIENCE_SECONDS, 0
        while calm < 2:
            before = parts.cpu_seconds()
            time.sleep(IDLE_SECONDS)
            for name, child in self.processes.items():
                assert child.running(), f"{name} has ended:\n{child.tail()}"
            busy = max(cpu_seconds(pid) - before[name] for name, pid in parts.pids.items())
            calm = calm + 1 if busy < IDLE_SHARE * IDLE_SECONDS else 0
            assert time.monotonic() < deadline, f"not taken in within {PATIENCE_SECONDS:g} s"
        time.sleep(EVERY_SECONDS + IDLE_SECONDS)


def measure(name: str, share: float, kafka: Kafka, server: RedisServer) -> dict[str, Any]:
    """One flood on an installation of its own."""
    flood, now = FLOODS[name], datetime.now(UTC)
    settings = Settings(kafka=kafka.address, redis=server.url, namespace=f"flood-{name}", partitions=2, clock="wall")
    asyncio.run(create_topics(settings))
    fill_catalog(settings, KNOWN, noon_zone(now))
    total = int(flood.rate * HOUR * share)
    with Sandbox("flipside-floods-") as sandbox, Redis.from_url(server.url) as redis:
        environment = worker_environment(settings)
        analysis = sandbox.start("analysis", [sys.executable, "-m", "flipside", "analysis"], environment)
        found = Installation(settings, {"worker": start_worker(sandbox, settings), "analysis": analysis}, redis)
        registered = definition("watched", KNOWN, now)
        asyncio.run(requests.ask(settings, DEFINITION, registered, requests.registration_of(registered), 60.0))
        found.settle()
        held, began = [found.megabytes()], time.monotonic()
        for quarter in range(QUARTERS):
            numbers = range(total * quarter // QUARTERS, total * (quarter + 1) // QUARTERS)
            by_topic: dict[str, list[Record]] = {}
            for number in numbers:
                for topic, record in flood.of(number, datetime.now(UTC)):
                    by_topic.setdefault(topic, []).append(record)
            for topic, records in by_topic.items():
                publish(settings, topic, records)
            found.settle()
            held.append(found.megabytes())
    quarter_records = total / QUARTERS
    bytes_a_record = slope(held[1:], quarter_records)
    return {
        "what": flood.of.__doc__,
        "rate_a_second": flood.rate,
        "records": total,
        "hours_of_it": share,
        "seconds": round(time.monotonic() - began, 1),
        "megabytes_by_quarter": held,
        "bytes_a_record": bytes_a_record,
        "bytes_a_record_second_half": slope(held[QUARTERS // 2 :], quarter_records),
        "megabytes_an_hour": {part: round(b * flood.rate * HOUR / 1e6, 1) for part, b in bytes_a_record.items()},
        **{f"machine_{key}": value for key, value in machine().items()},
    }


def slope(held: list[dict[str, float]], quarter_records: float) -> dict[str, float]:
    """Bytes that each part grew by for a record; ``held``: megabytes after each quarter."""
    records = quarter_records * (len(held) - 1)
    return {part: round((held[-1][part] - held[0][part]) * 1e6 / records, 1) for part in held[0]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams.floods", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of an hour's records (1)")
    parser.add_argument("--only", action="append", choices=sorted(FLOODS), help="only this flood; may be repeated")
    parser.add_argument("--write", type=Path, help="JSON of all floods; those that it has already are kept")
    asked = parser.parse_args()
    found = json.loads(asked.write.read_text()) if asked.write and asked.write.exists() else {}
    with servers() as (kafka, redis):
        for name in asked.only or FLOODS:
            found[name] = measure(name, asked.share, kafka, redis)
            print(f"{name}: {json.dumps(found[name]['bytes_a_record'])} bytes a record, ", end="")
            print(
                f"{json.dumps(found[name]['megabytes_an_hour'])} MB an hour at {FLOODS[name].rate} a second", flush=True
            )
            if asked.write:
                asked.write.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
