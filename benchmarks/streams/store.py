"""What a decision and a fold cost on a real Redis: microseconds a unit, whole call path (JSON, loopback, Lua).

Besides the time that passed, the processor time of this process and of the server: it hardly moves with the load of
the machine.

Run: python -m benchmarks.streams.store [units] [--json]. Starts a redis-server of its own, with an append-only file.
The peer in the same run is the least that Redis could be asked: HSET of ready-made states in batches, unguarded.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from controller.decisions.decide import Flip, Proposal
from controller.messages.inputs import Blackout, Scope
from streams.store import Cell, Registration
from streams.store.encoding import UNITS_PER_CALL
from streams.store.redis.store import RedisStore
from tests.parts.redis_server import RedisServer
from tests.streams.builders import experiment

START = datetime(2026, 3, 2, tzinfo=UTC)


def flip(units: int, day: int) -> Flip:
    begin = START + timedelta(days=day)
    return Flip(
        experiment="bench",
        experiment_version=1,
        design_hash="hash",
        market="de",
        block=day,
        day=begin.date(),
        arms=("control", "low"),
        currency="EUR",
        effective_at=begin,
        expires_at=begin + timedelta(days=1),
        keep_until=begin + timedelta(days=1),
        decided_at=begin - timedelta(hours=1),
        proposals=tuple(
            Proposal(f"de/product-{k:06d}", f"product-{k:06d}", (k + day) % 2, (1999, 1799)) for k in range(units)
        ),
    )


def cells(units: int) -> list[Cell]:
    day = date(2026, 3, 2).toordinal()
    return [Cell("de", day, f"de/product-{k:06d}", 3, 5997, 3000, 3, 2) for k in range(units)]


async def measure(url: str, units: int) -> dict[str, tuple[float, float, float]]:
    """Microseconds a unit, by what was done: passed, our processor time, the server's."""
    taken: dict[str, tuple[float, float, float]] = {}
    bare: Redis = Redis.from_url(url)

    async def clocks() -> tuple[float, float, float]:
        cpu = await bare.info("cpu")
        return time.perf_counter(), time.process_time(), cpu["used_cpu_user"] + cpu["used_cpu_sys"]

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        begin = await clocks()
        result = await work
        passed, ours, servers = (after - before for before, after in zip(begin, await clocks(), strict=True))
        taken[name] = passed / units * 1e6, ours / units * 1e6, servers / units * 1e6
        return result

    store = RedisStore(url, "bench", 4)
    await store.put_registration(Registration(experiment(name="bench"), "hash"))
    await store.claim(0, 1)
    await timed("flip, units new", store.flip(0, 1, flip(units, 0)))
    await timed("flip, next day", store.flip(0, 1, flip(units, 1)))
    for k in range(20):
        scope = Scope(kind="unit", name=f"de/product-{k:06d}")
        begin = START + timedelta(days=2)
        await store.put_blackout(
            Blackout(id=f"w{k}", scope=scope, starts_at=begin, ends_at=begin + timedelta(days=9), reason="sale")
        )
    await timed("flip, next day, 20 blackouts", store.flip(0, 1, flip(units, 2)))
    await timed("flip, repeated", store.flip(0, 1, flip(units, 2)))
    batch, position = cells(units), 0
    for name in ("fold_sales, cells new", "fold_sales, cells known"):

        async def fold(first: int) -> None:
            for start in range(0, units, 1000):
                assert await store.fold_sales(0, first + start, first + start + 1000, batch[start : start + 1000])

        await timed(name, fold(position))
        position += -(-units // 1000) * 1000
    dirty = await timed("dirty", store.dirty({"de": date(2026, 3, 2).toordinal()}))
    await timed("cleaned", store.cleaned(dirty))

    state = json.dumps(["bench.1", 738000, "control", 1772409600000, 1772496000000, 1999, 100000, 1])

    async def unguarded() -> None:
        for start in range(0, units, UNITS_PER_CALL):
            some: dict[Any, Any] = {
                f"de/product-{k:06d}": state for k in range(start, min(start + UNITS_PER_CALL, units))
            }
            await bare.hset("bare", mapping=some)

    await timed("peer: unguarded HSET", unguarded())
    await bare.aclose()
    await store.close()
    return taken


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    units = numbers[0] if numbers else 100_000
    with RedisServer() as server:
        taken = asyncio.run(measure(server.url, units))
    if "--json" in sys.argv:
        named = {name: dict(zip(("passed", "cpu", "server_cpu"), three, strict=True)) for name, three in taken.items()}
        print(json.dumps({"units": units, "microseconds_per_unit": named}))
        return
    peer = sum(taken["peer: unguarded HSET"][1:])
    print(f"{units} units; us a unit\n{'':32}{'passed':>9}{'our CPU':>9}{'server':>9}{'CPU x peer':>12}")
    for name, (passed, ours, servers) in taken.items():
        print(f"{name:32}{passed:9.2f}{ours:9.2f}{servers:9.2f}{(ours + servers) / peer:12.1f}")


if __name__ == "__main__":
    main()
