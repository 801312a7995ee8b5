"""A million sales that come as badly as sales can: counted to the event, in memory that does not grow.

A fifth of the records repeat an earlier one, a tenth come days late (a fifth of those too late for any count), one in
a hundred is poison; all out of order, in five codecs, over simulated days. Each record must end up in one place,
as a unit-day, a correction, a dead letter or a repetition that was seen.

Run: python -m benchmarks.streams.exact [records] [--days N] [--no-deduplicate] [--json]. Starts a Kafka and a Redis of
its own. There is no peer: the truth is the book that the shop has kept.
"""

import asyncio
import json
import sys
import time
from typing import Any

from redis import Redis

from tests.e2e.inputs.messy import REVISION_DAYS, Drive, Shop, driving
from tests.e2e.running import PARTITIONS, Servers
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

MARKETS, PRODUCTS = 10, 100
MEGABYTE = 1024 * 1024


async def measure(kafka: str, redis: str, records: int, days: int, *, deduplicate: bool) -> dict[str, Any]:
    """Play all days; returns the account, and what memory was in use at the end of each day."""
    settings = Servers(kafka, redis).settings("exact", revision_days=REVISION_DAYS, deduplicate=deduplicate)
    server: Redis = Redis.from_url(redis)
    memory: list[tuple[int, float, float]] = []
    async with driving(settings, Shop(MARKETS, PRODUCTS, PARTITIONS, seed=3)) as drive:

        async def look(day: int) -> None:
            used = int(server.info("memory")["used_memory"])
            memory.append((day, drive.memory_bytes() / MEGABYTE, used / MEGABYTE))
            if sys.stderr.isatty():
                print(f"\rday {day + 1} of {days}", end="", file=sys.stderr)

        began = time.perf_counter()
        await drive.play(days, records // days, on_day=look)
        await drive.settled()
        seconds = time.perf_counter() - began
        found = account(drive, deduplicate=deduplicate)
    server.close()
    half = len(memory) // 2
    return found | {
        "days": days,
        "deduplicate": deduplicate,
        "seconds": round(seconds, 1),
        "records_a_second": round(drive.shop.truth.sent / seconds),
        "worker_mb": [round(worker, 1) for _, worker, _ in memory],
        "redis_mb": [round(store, 1) for _, _, store in memory],
        # From the middle of the run on, when days are sealed as fast as they come.
        "worker_growth": round(memory[-1][1] / memory[half][1] - 1, 3),
        "redis_growth": round(memory[-1][2] / memory[half][2] - 1, 3),
    }


def account(drive: Drive, *, deduplicate: bool) -> dict[str, Any]:
    """What was sent, what came out, and whether the two agree to the event."""
    truth, seen = drive.shop.truth, drive.seen
    totals = seen.totals()
    wrong = sum(1 for place, total in truth.totals.items() if totals.get(place) != total)
    counted = sum(row.events for row in seen.rows.values())
    expected = truth.counted + (0 if deduplicate else truth.doubled)
    exact = counted == expected and len(seen.corrections) == len(truth.too_late) and seen.reasons() == truth.dead
    return {
        "sent": truth.sent,
        "counted": counted,
        "expected": expected,
        "unit_days": len(seen.rows),
        "unit_days_wrong": wrong if deduplicate else None,
        "late": truth.late,
        "repetitions": truth.doubled,
        "repetitions_seen": drive.metric("duplicate"),
        "corrections": len(seen.corrections),
        "corrections_expected": len(truth.too_late),
        "dead_letters": len(seen.dead),
        "dead_letters_expected": truth.dead.total(),
        "by_reason": dict(seen.reasons()),
        "exact": exact and (not deduplicate or totals == truth.totals),
    }


def main(arguments: list[str]) -> int:
    numbers = [int(argument) for argument in arguments if argument.isdigit()]
    days = 25
    if "--days" in arguments:
        days = int(arguments[arguments.index("--days") + 1])
        numbers.remove(days)
    records = numbers[0] if numbers else 1_000_000
    with Kafka() as kafka, RedisServer() as redis:
        found = asyncio.run(
            measure(kafka.address, redis.url, records, days, deduplicate="--no-deduplicate" not in arguments)
        )
    if "--json" in arguments:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:22} {value}")
    return 0 if found["exact"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
