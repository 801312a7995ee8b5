"""The stage: real Kafka and Redis, workers behind doors, clients and tills, on fast time; and how it is struck."""

import asyncio
import contextlib
import json
import re
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings, child_environment
from tests.chaos.evidence.evidence import Fault, Window, Write
from tests.chaos.evidence.witness import witness
from tests.chaos.faults.planted import BUGS
from tests.chaos.faults.proxy import Doors
from tests.chaos.shop.pace import DAY, Opening, Pace
from tests.chaos.shop.setting import LATENESS_HOURS, ORIGIN, PRODUCTS, START, Setting, markets
from tests.chaos.shop.worker import POINTS
from tests.e2e.running import records
from tests.parts.kafka import Kafka
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer

FAKETIME = "libfaketime.so.1"
LOG = "pricing.experiment.assignment-log.v1"
#: a horizon, not a duration: a machine with much else to do may take as long
START_SECONDS = 180.0


def faketime() -> Path | None:
    """The library that steps a process's clock, where the machine has it."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"))), None)


def tell(what: str, started: float = time.monotonic()) -> None:
    """A line of progress on standard error."""
    print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)


async def lasting(seconds: float) -> None:
    """Let a fault last, or the shop's clock go on. Nothing is waited for here: the time that passes is itself what is
    done to the system. Whatever must have come about is waited for as a condition (`tests.chaos.evidence.seen`)."""
    await asyncio.sleep(max(seconds, 0.0))


@dataclass
class Stage:
    """Everything that runs, and the evidence gathered while it does."""

    setting: Setting
    kafka: Kafka
    redis: RedisServer
    settings: Settings
    opening: Opening
    sandbox: Sandbox
    kafka_doors: dict[str, Doors]
    redis_doors: dict[str, tuple[Doors, int]]
    zones: dict[str, str]
    workers: dict[str, Child] = field(default_factory=dict)
    others: dict[str, Child] = field(default_factory=dict)
    #: workers that are down because somebody wanted it
    struck: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    #: the supervisor and the witness: neither ends unless something of the stage itself is broken
    watching: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def pace(self) -> Pace:
        """The shop's clock, once it has been opened."""
        return self.opening.pace()

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(sorted(f"{market}/{product}" for market in self.zones for product in PRODUCTS))

    @property
    def experiment(self) -> dict[str, object]:
        return {
            "name": "prices",
            "version": 1,
            "currency": "EUR",
            "units": list(self.units),
            "clusters": "unit",
            "arms": [
                {"name": "control"},
                {"name": "cheaper", "price": {"percent": "-5"}},
                {"name": "dearer", "price": {"percent": "5"}},
            ],
            "start": START,
            "days": 3000,
            "seed": f"chaos-{self.setting.seed}",
            "lead_minutes": self.setting.lead_hours * 60,
        }

    def note(self, fault: Fault) -> None:
        """Keep a fault as evidence, and at once in a file: of a run that is cut off, that is what remains."""
        self.faults.append(fault)
        with (self.kept / "faults.jsonl").open("a") as file:
            at = {name: round(getattr(fault, name) - self.pace.started, 2) for name in ("began", "ended")}
            file.write(json.dumps(asdict(fault) | at) + "\n")

    @property
    def kept(self) -> Path:
        """The folder of what stays when everything is gone."""
        name = f"seed-{self.setting.seed}{'-' + self.setting.bug if self.setting.bug else ''}"
        return Path(".chaos") / name

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_worker(self, name: str) -> None:
        setting, fronts = self.setting, [front for front, _ in self.kafka.door(name.upper())]
        environment = child_environment(
            {
                "FLIPSIDE_KAFKA": ",".join(f"127.0.0.1:{port}" for port in fronts),
                "FLIPSIDE_REDIS": f"redis://127.0.0.1:{self.redis_doors[name][1]}/0",
                "FLIPSIDE_NAMESPACE": self.settings.namespace,
                "FLIPSIDE_PARTITIONS": str(setting.partitions),
                "FLIPSIDE_SESSION_TIMEOUT_MS": str(setting.session_ms),
                "FLIPSIDE_LATENESS_SECONDS": str(LATENESS_HOURS * 3600),
                "FLIPSIDE_RECONCILE_SECONDS": "0.2",
                # Two seconds of a worker.
                "FLIPSIDE_STALE_TICK_SECONDS": str(2 * self.opening.rate),
                # Three seconds of a worker: as long as it takes to elect another leader for a broker that was killed.
                "FLIPSIDE_PUBLISH_MARGIN_SECONDS": str(3 * self.opening.rate),
                "FLIPSIDE_CLOCK_TOLERANCE_SECONDS": "3600",
                **self._environment(),
                "CHAOS_POINTS": str(self.sandbox.folder),
            }
        )
        if setting.bug:
            environment |= BUGS[setting.bug].environment
        library = faketime() if setting.clock_can_be_stepped else None
        if name == self.stepped and library is not None:
            environment |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock_file),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        for point in POINTS:
            (self.sandbox.folder / f"{name}.{point}").unlink(missing_ok=True)
        self.workers[name] = self.sandbox.start(
            name, [sys.executable, "-m", "tests.chaos.shop.worker", name], environment
        )

    @property
    def stepped(self) -> str:
        """The worker whose clock can be stepped."""
        return f"w{self.setting.workers}"

    def step_clock(self, hours: float) -> None:
        """Set the stepped worker's clock so many hours of the shop off; within a second it sees that."""
        self._clock_file.write_text(f"{hours * 3600 / self.opening.rate:+.3f}\n")

    @property
    def _clock_file(self) -> Path:
        return self.sandbox.folder / "clock"

    def _environment(self) -> dict[str, str]:
        return {**self.opening.environment(), "CHAOS_BUG": self.setting.bug, "PYTHONPATH": str(Path.cwd())}

    def start_clients(self) -> None:
        for fleet in (str(self.setting.clients), "cold"):
            arguments = [self.settings.kafka, self.settings.namespace, str(self.file(f"looks-{fleet}")), fleet]
            self._start_other(f"clients-{fleet}", "tests.chaos.shop.clients", [*arguments, *self.units])

    def start_tills(self) -> None:
        s = self.setting
        numbers = [str(s.seed), str(s.sales_a_second), str(s.twice)]
        arguments = [self.settings.kafka, self.settings.namespace, str(self.file("sent")), *numbers, *self.units]
        self._start_other("tills", "tests.chaos.shop.tills", arguments)

    def _start_other(self, name: str, module: str, arguments: list[str]) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.others[name] = self.sandbox.start(name, command, child_environment(self._environment()))

    def file(self, name: str) -> Path:
        return self.sandbox.folder / f"{name}.jsonl"

    async def supervise(self) -> None:
        """Start anew what ended by itself, as a supervisor in production does."""
        while True:
            for name, child in list(self.workers.items()):
                if name not in self.struck and not child.running():
                    now = time.time()
                    self.note(Fault("ended by itself", name, now, now))
                    tell(f"{name} ended by itself: {child.tail(1)[-200:]}")
                    self.start_worker(name)
            for child in self.others.values():
                if not child.running():
                    raise AssertionError(f"{child.name} ended:\n{child.tail()}")
            await asyncio.sleep(0.1)

    async def ask_point(self, worker: str, point: str, what: str, timeout: float) -> bool:
        """Have a worker strike itself at a point; whether it came by in time."""
        file = self.sandbox.folder / f"{worker}.{point}"
        file.write_text(what)
        deadline = time.monotonic() + timeout
        try:
            while file.exists():
                if time.monotonic() > deadline or not self.workers[worker].running():
                    return False
                await asyncio.sleep(0.01)
            return True
        finally:
            file.unlink(missing_ok=True)

    async def everybody_at_work(self) -> None:
        """Wait until every worker runs, every shard is owned, and the experiment is registered."""
        deadline = time.monotonic() + START_SECONDS
        while lacking := await self._lacking():
            assert time.monotonic() < deadline, f"not ready after {START_SECONDS:.0f} s: {lacking}"
            await asyncio.sleep(0.1)

    async def _lacking(self) -> str:
        starting = [name for name, child in self.workers.items() if not child.said('"event": "worker started"')]
        if starting:
            return f"{', '.join(starting)} did not start"
        taken = "".join(child.log.read_text(errors="replace") for child in self.workers.values())
        owned = {int(n) for n in re.findall(r'"shard": (\d+), "epoch": \d+, "tick"', taken)}
        nobodys = sorted(set(range(self.setting.partitions)) - owned)
        if nobodys:
            return f"shards {nobodys} have no owner"
        said = await records(self.settings, LOG)
        if any(("ce_type", b"flipside.registered.v1") in record.headers for record in said):
            return ""
        return f"the experiment is not registered; the log says {[record.value for record in said]}"

    # --- what the owner says ------------------------------------------------------------------------------------------

    async def say(self, topic: str, key: str, body: dict[str, object] | None) -> None:
        value = None if body is None else json.dumps(body).encode()
        await self._producer.send_and_wait(f"{self.settings.namespace}.{topic}", key=key.encode(), value=value)

    async def open_shop(self) -> None:
        """Catalog and experiment."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka, acks="all")
        await self._producer.start()
        for unit in self.units:
            zone = self.zones[unit.partition("/")[0]]
            entry = {"unit": unit, "time_zone": zone, "currency": "EUR", "list_price_minor": 1000}
            await self.say("pricing.catalog.v1", unit, entry)
        await self.say("pricing.experiment.definition.v1", "prices", self.experiment)

    async def black_out(self, name: str, kind: str, scope: str, starts: int, ends: int) -> None:
        spelled = [datetime.fromtimestamp(t / 1000, UTC).isoformat() for t in (starts, ends)]
        body: dict[str, object] = {
            "id": name,
            "scope": {"kind": kind, "name": scope},
            "starts_at": spelled[0],
            "ends_at": spelled[1],
            "reason": "chaos",
        }
        self.windows.append(Window(name, kind, scope, starts, ends, float("inf")))
        await self.say("pricing.experiment.blackout.v1", name, body)

    async def close_shop(self) -> None:
        await self._producer.stop()


@asynccontextmanager
async def staged(setting: Setting) -> AsyncIterator[Stage]:
    """Everything started, the experiment submitted; gone at the end, files and all."""
    names = [f"w{number}" for number in range(1, setting.workers + 1)]
    kafka = Kafka(
        setting.nodes,
        # The brokers' clock, not the producers': what the rules go by.
        {"log.message.timestamp.type": "LogAppendTime"},
        doors=[name.upper() for name in names],
        heap="256m",
    )
    redis = RedisServer("--auto-aof-rewrite-percentage", "0")
    async with contextlib.AsyncExitStack() as stack:
        sandbox = stack.enter_context(Sandbox("flipside-chaos-"))
        await asyncio.to_thread(kafka.__enter__)
        stack.push_async_callback(asyncio.to_thread, kafka.__exit__)
        await asyncio.to_thread(redis.__enter__)
        stack.push_async_callback(asyncio.to_thread, redis.__exit__)
        settings = Settings(
            kafka=kafka.address,
            redis=redis.url,
            namespace=f"chaos-{uuid.uuid4().hex[:8]}",
            partitions=setting.partitions,
            replication_factor=setting.nodes,
            min_insync_replicas=max(1, setting.nodes - 1),
            # So often that most rebuilds begin at one.
            checkpoint_seconds=10.0,
        )
        tell(f"{setting.nodes} brokers and Redis are up")
        await create_topics(settings)
        redis_port = redis.port
        kafka_doors = {name: Doors(kafka.door(name.upper())) for name in names}
        ports = {name: free_port() for name in names}
        redis_doors = {name: (Doors([(ports[name], redis_port)]), ports[name]) for name in names}
        for doors in [*kafka_doors.values(), *(d for d, _ in redis_doors.values())]:
            await doors.start()
            stack.push_async_callback(doors.stop)
        opening = Opening(sandbox.folder / "opening", ORIGIN, DAY / setting.day_seconds)
        stage = Stage(
            setting, kafka, redis, settings, opening, sandbox, kafka_doors, redis_doors, markets(setting.partitions)
        )
        shutil.rmtree(stage.kept, ignore_errors=True)
        stage.kept.mkdir(parents=True)
        stage.step_clock(0)
        for name in names:
            stage.start_worker(name)
        stage.watching += [asyncio.create_task(run) for run in (stage.supervise(), witness(redis.port, stage.writes))]
        stack.push_async_callback(ended, stage.watching)
        await stage.open_shop()
        stack.push_async_callback(stage.close_shop)
        await stage.everybody_at_work()
        opening.open(time.time())
        stage.start_clients()
        stage.start_tills()
        tell("the shop opens: every shard has its owner, the experiment is registered")
        yield stage


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End tasks that do not end by themselves; raises what one has failed with."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def stop(child: Child) -> None:
    """SIGTERM, and wait."""
    began = time.monotonic()
    await asyncio.to_thread(child.stop)
    tell(f"{child.name} has stopped, {time.monotonic() - began:.1f} s after it was asked to")
