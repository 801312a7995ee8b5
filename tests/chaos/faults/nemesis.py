"""The nemesis: what is done to the system, when and for how long, as a function of the seed."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tests.chaos.evidence.evidence import Fault
from tests.chaos.faults.proxy import CUTS, Doors
from tests.chaos.shop.stage import Stage, faketime, lasting, tell

#: (point, what) at which a worker may strike itself
STRIKES = (
    ("flip", "stop"), ("settle", "stop"), ("publish", "stop"), ("drop", "stop"), ("fold", "stop"),
    ("flip", "kill"), ("settle", "kill"), ("publish", "kill"), ("drop", "kill"), ("fold", "kill"),
)  # fmt: skip
STEP_HOURS = 2.0


class Nemesis:
    """Strikes at random instants; a target that is being struck is left alone until it is over."""

    def __init__(self, stage: Stage, seed: int, kinds: Sequence[str], every_seconds: float = 2.5) -> None:
        self._stage = stage
        self._chance = random.Random(f"nemesis {seed}")
        self._every = every_seconds
        self._busy: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._kinds = tuple(kinds)
        #: what the nemesis itself could not do: a broker that did not come back
        self._failed: list[Exception] = []

    async def run(self, until: float) -> None:
        """Strike until a real instant; returns when everything is mended."""
        while (left := until - time.time()) > 0:
            if self._failed:
                raise self._failed[0]
            self._strike()
            await lasting(min(self._chance.expovariate(1 / self._every), left))
        while self._under_way:
            done, _ = await asyncio.wait(self._under_way)
            for task in done:
                task.result()

    def _strike(self) -> None:
        # All dice are thrown here, in one order, whatever is busy: the same seed asks for the same faults.
        kind = self._chance.choices(self._kinds, [KINDS[k][0] for k in self._kinds])[0]
        own = random.Random(self._chance.random())
        target, fault = KINDS[kind][1](self, own)
        if target in self._busy:
            return
        self._busy.add(target)
        task = asyncio.create_task(self._guarded(target, fault))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _guarded(self, target: str, fault: Callable[[], Awaitable[None]]) -> None:
        try:
            await fault()
        except Exception as error:
            self._failed.append(error)
            raise
        finally:
            self._busy.discard(target)

    @asynccontextmanager
    async def noted(self, what: str, target: str, leases: float = 0.0) -> AsyncIterator[None]:
        began = time.time()
        tell(f"{what}: {target}" + (f", {leases:.1f} leases" if leases else ""))
        try:
            yield
        finally:
            self._stage.note(Fault(what, target, began, time.time(), round(leases, 2)))

    def worker(self, own: random.Random) -> str:
        return own.choice(sorted(self._stage.workers))

    # --- workers ------------------------------------------------------------------------------------------------------

    def kill(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, name, leases = self._stage, self.worker(own), own.uniform(0.1, 4)

        async def fault() -> None:
            async with self.noted("worker SIGKILL", name, leases):
                stage.struck.add(name)
                await asyncio.to_thread(stage.workers[name].kill)
                await lasting(leases * stage.setting.lease)
                stage.start_worker(name)
                stage.struck.discard(name)

        return name, fault

    def stop(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, name, leases = self._stage, self.worker(own), 10 ** own.uniform(-1, 1)

        async def fault() -> None:
            child = stage.workers[name]
            async with self.noted("worker SIGSTOP", name, leases):
                child.pause()
                await lasting(leases * stage.setting.lease)
                child.resume()

        return name, fault

    def strike(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, name, (point, what), leases = (
            self._stage,
            self.worker(own),
            own.choice(STRIKES),
            10 ** own.uniform(-1, 1),
        )

        async def fault() -> None:
            child = stage.workers[name]
            stage.struck.add(name)
            try:
                if not await stage.ask_point(name, point, what, 8.0):
                    return
                async with self.noted(f"worker SIG{what.upper()} before it {SAID[point]}", name, leases):
                    await lasting(leases * stage.setting.lease)
                    if what == "stop":
                        child.resume()
            finally:
                if not child.running():
                    stage.start_worker(name)
                stage.struck.discard(name)

        return name, fault

    def step(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, hours, seconds = self._stage, own.choice((-STEP_HOURS, STEP_HOURS)), own.uniform(4, 12)

        async def fault() -> None:
            if faketime() is None:
                return
            async with self.noted(f"clock {hours:+.0f} h", stage.stepped):
                stage.step_clock(hours)
                await lasting(seconds)
                stage.step_clock(0)

        return "clock", fault

    # --- the network --------------------------------------------------------------------------------------------------

    def cut_kafka(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        name = self.worker(own)
        return self._cut(own, name, "Kafka", self._stage.kafka_doors[name])

    def cut_redis(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        name = self.worker(own)
        return self._cut(own, name, "Redis", self._stage.redis_doors[name][0])

    def _cut(
        self, own: random.Random, name: str, server: str, doors: Doors
    ) -> tuple[str, Callable[[], Awaitable[None]]]:
        weather, leases = own.choice(CUTS), 10 ** own.uniform(-1, 0.7)

        async def fault() -> None:
            async with self.noted(f"{weather} to {server}", name, leases):
                doors.set(weather)
                try:
                    await lasting(leases * self._stage.setting.lease)
                finally:
                    doors.set("open")

        return f"{name} to {server}", fault

    # --- servers ------------------------------------------------------------------------------------------------------

    def kill_broker(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, node, seconds = self._stage, own.randint(1, self._stage.setting.nodes), own.uniform(1, 6)

        async def fault() -> None:
            async with self.noted("broker SIGKILL", f"node {node}"):
                await asyncio.to_thread(stage.kafka.kill, node)
                await lasting(seconds)
                await asyncio.to_thread(stage.kafka.restart, node)
            # The next one only when this one is in sync again: two of three are the promise.
            await asyncio.to_thread(stage.kafka.wait_in_sync)

        return "kafka", fault

    def kill_redis(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        return self._redis(own, "Redis SIGKILL", lambda: None)

    def lose_redis(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        return self._redis(own, "Redis restarted without its file", self._stage.redis.lose_file)

    def older_redis(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        """The file of some seconds ago; the first such fault takes the copy."""
        age = own.uniform(2, 15)

        def back() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._stage.redis.restore()

        target, fault = self._redis(own, f"Redis restored from {age:.0f} s ago", back)

        async def aged() -> None:
            await asyncio.to_thread(self._stage.redis.back_up)
            await lasting(age)
            await fault()

        return target, aged

    def flush_redis(self, own: random.Random) -> tuple[str, Callable[[], Awaitable[None]]]:
        async def fault() -> None:
            async with self.noted("Redis flushed", "redis"):
                await asyncio.to_thread(_flush, self._stage.redis.url)

        return "redis", fault

    def _redis(
        self, own: random.Random, what: str, between: Callable[[], None]
    ) -> tuple[str, Callable[[], Awaitable[None]]]:
        stage, seconds = self._stage, own.uniform(0.2, 5)

        async def fault() -> None:
            async with self.noted(what.split(" from ")[0], "redis"):
                await asyncio.to_thread(stage.redis.kill)
                between()
                await lasting(seconds)
                await asyncio.to_thread(stage.redis.restart)

        return "redis", fault


def _flush(url: str) -> None:
    from redis import Redis

    with Redis.from_url(url) as client:
        client.flushall()


SAID = {"flip": "decides", "settle": "settles", "fold": "folds", "publish": "publishes", "drop": "drops"}
Kind = tuple[float, Callable[[Nemesis, random.Random], tuple[str, Callable[[], Awaitable[None]]]]]
#: kind of fault -> how often, and what
KINDS: dict[str, Kind] = {
    "kill": (3, Nemesis.kill),
    "stop": (3, Nemesis.stop),
    "strike": (4, Nemesis.strike),
    "cut-kafka": (2, Nemesis.cut_kafka),
    "cut-redis": (2, Nemesis.cut_redis),
    "broker": (1.5, Nemesis.kill_broker),
    "redis": (1.5, Nemesis.kill_redis),
    "clock": (1, Nemesis.step),
    "flush": (1, Nemesis.flush_redis),
    "lose": (1, Nemesis.lose_redis),
    "older": (1, Nemesis.older_redis),
}
