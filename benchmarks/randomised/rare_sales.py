"""Shops that sell rarely, through Kafka, Redis, a worker and the analysis: does the interval hold the planted effect?

    python -m benchmarks.randomised.rare_sales                       # 40 runs of 3 designs at 5 rates, with and
    without silence python -m benchmarks.randomised.rare_sales --runs 4 --json out.json

Shops of 20 stores hold 150 experiments each: one has five products of its own in every store, clusters by store, 28
days of history and 28 days under -20 %. Its units sell .2 to 5 times a day; a day on which one sells nothing leaves no
trace, as in a shop. With silence, one store-day in twenty publishes no sale at all, drawn without a look at arms.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.streams.flips import tick
from benchmarks.streams.installation import machine, publish, servers, start_worker
from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.field_types import Message, milliseconds
from controller.messages.events import OBSERVATIONAL, Estimate, PeriodClosed, Refused, Registered
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import ASSIGNMENT_LOG, CATALOG, DEFINITION, ESTIMATE, PANEL, SALE
from controller.time.periods import Period, period
from flipside.simulated_shop.shop import plain
from flipside.topics.reader import Reader
from flipside_client import Assignments
from streams.embedded.processes import Child, Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from streams.worker.services import partition_of
from tests.e2e.inputs.messy import worker_environment

STORES, PRODUCTS, BEFORE, DAYS = 20, 5, 28, 28
START, ZONE = date(2026, 3, 30), "Europe/Vienna"
EFFECT, PRICE, COST = -0.2, 1000, 600
RATES = (0.2, 0.5, 0.9, 2.0, 5.0)
DESIGNS: dict[str, dict[str, Any]] = {
    "random days": {"kind": "random_days"},
    "crossover": {"kind": "crossover", "washout_days": 0},
    "time-bound": {"kind": "time_bound", "washout_days": 0},
}
WEEKDAYS = np.array([0.9, 0.85, 0.9, 1.0, 1.25, 1.35, 0.75])
SILENT_SHARE = 0.05
PATIENCE_SECONDS = 900.0
#: runs of each design and rate that one shop holds
RUNS_A_SHOP = 10
#: days that the shop may be ahead of the last closed one
DAYS_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One experiment of the shop."""

    design: str
    rate: float
    number: int

    @property
    def name(self) -> str:
        return f"{self.design.replace(' ', '-')}.{self.rate}.{self.number}"

    def units(self) -> list[str]:
        return [f"store-{store}/{self.name}.{product}" for store in range(STORES) for product in range(PRODUCTS)]

    def definition(self, seed: int) -> Experiment:
        units = self.units()
        # A cluster has one experiment at a time, so the stores are clusters under names of each experiment's own.
        clusters = {f"{self.name}.{k}": tuple(units[k * PRODUCTS : (k + 1) * PRODUCTS]) for k in range(STORES)}
        return Experiment.model_validate({
            "name": self.name, "currency": "EUR", "units": tuple(units), "clusters": clusters,
            "design": DESIGNS[self.design], "start": START, "days": DAYS, "seed": f"{seed}-{self.name}",
            "arms": (Arm(name="control"), Arm(name="dear", price=PriceRule(percent=Decimal(10)))),
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shop:
    """What every unit sells under control: means by day and unit, and the store-days of which nothing arrives."""

    units: tuple[str, ...]
    #: (days, U)
    mean: np.ndarray
    #: (U,) number of the store
    store: np.ndarray
    #: (days, stores)
    silent: np.ndarray

    def sold(self, rng: np.random.Generator, day: int, dear: np.ndarray) -> np.ndarray:
        """(U,) sale events that arrive of a day."""
        mean = self.mean[day] * np.where(dear, 1.0 + EFFECT, 1.0)
        return np.where(self.silent[day, self.store], 0, rng.poisson(mean))


def shop_of(runs: Sequence[Run], rng: np.random.Generator, silent: float) -> Shop:
    """Levels of units, weekdays, days that are good for all, and stores with ups and downs of their own."""
    days, units = BEFORE + DAYS, [unit for run in runs for unit in run.units()]
    rate = np.repeat([run.rate for run in runs], STORES * PRODUCTS)
    # An experiment's clusters go their own ways: nothing that one run misses is missed by all.
    path = np.zeros((days, len(runs) * STORES))
    for day in range(1, days):
        path[day] = 0.6 * path[day - 1] + rng.normal(0.0, 0.12, path.shape[1])
    level = rng.lognormal(-0.08, 0.4, len(units))
    weekday = WEEKDAYS[(np.arange(days) + (START - timedelta(days=BEFORE)).weekday()) % 7]
    shock = rng.lognormal(0.0, 0.1, days)
    mean = rate * level * np.repeat(np.exp(path), PRODUCTS, axis=1) * (weekday * shock)[:, np.newaxis]
    store = np.tile(np.repeat(np.arange(STORES), PRODUCTS), len(runs))
    return Shop(tuple(units), mean, store, rng.random((days, STORES)) < silent)


class Installation:
    """Broker, Redis, a worker, an analysis and the shop's own connections."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        self.settings, self._sandbox = settings, sandbox
        self.children: list[Child] = [start_worker(sandbox, settings, "worker", log_level="warning")]
        self.producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
        self._closed: dict[str, date] = {}
        self.log, self._panel = Reader(settings, [ASSIGNMENT_LOG]), Reader(settings, [PANEL])
        self.estimates = Reader(settings, [ESTIMATE])

    def analyse(self) -> None:
        environment = worker_environment(self.settings, log_level="warning")
        command = [sys.executable, "-m", "flipside", "analysis"]
        self.children.append(self._sandbox.start("analysis", command, environment))

    async def wait(self, what: str, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await done():
            for child in self.children:
                assert child.running(), child.tail()
            assert time.monotonic() < deadline, f"waited for {what}: {self.children[0].tail()}"
            await asyncio.sleep(0.02)

    async def closed_through(self, day: date) -> bool:
        for message in await self._panel.poll(20):
            if isinstance(message, PeriodClosed):
                self._closed[message.market] = max(message.day, self._closed.get(message.market, message.day))
        self._panel.messages.clear()
        return len(self._closed) == STORES and min(self._closed.values()) >= day

    async def start(self) -> None:
        await self.producer.start()
        for reader in (self.log, self._panel, self.estimates):
            await reader.start()

    async def stop(self) -> None:
        await self.producer.stop()
        for reader in (self.log, self._panel, self.estimates):
            await reader.stop()
        for child in self.children:
            child.stop()


def send(producer: Producer, topic: str, shop: Shop, homes: Sequence[int], local: Period, number: int, sold: Any,
         dear: Any) -> int:  # fmt: skip
    """Publish a day's sales, an event for each piece; returns how many."""
    at, sent = (local.start + (local.end - local.start) / 2).isoformat(), 0
    for unit in np.flatnonzero(sold).tolist():
        name, price = shop.units[unit], round(PRICE * 1.1) if dear[unit] else PRICE
        tail = (
            f'","unit":"{name}","occurred_at":"{at}","quantity":1,"price_minor":{price},"cost_minor":{COST},'
            '"currency":"EUR"}'
        )
        for piece in range(int(sold[unit])):
            producer.produce(topic, f'{{"id":"{number}.{piece}{tail}'.encode(), name.encode(), homes[unit])
            sent += 1
            if sent % 5000 == 0:
                producer.poll(0)
    assert producer.flush(120) == 0
    return sent


async def play(settings: Settings, runs: Sequence[Run], seed: int, silent: float, progress: Progress) -> list[Estimate]:
    """The whole shop from its first day to its last estimate."""
    rng = np.random.default_rng(seed)
    shop = shop_of(runs, rng, silent)
    await create_topics(settings)
    homes = [partition_of(unit.encode(), settings.partitions) for unit in shop.units]
    sales = Producer({"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 5_000_000, "linger.ms": 20})
    with Sandbox("flipside-rare-sales-") as sandbox:
        parts = Installation(settings, sandbox)
        try:
            await parts.start()
            async with Assignments(settings.kafka, settings.namespace) as client:
                first = period(START - timedelta(days=BEFORE), ZONE)
                await tick(parts.producer, settings, first.start - timedelta(days=2))
                publish(settings, CATALOG, (plain(_entry(unit)) for unit in shop.units))
                publish(settings, DEFINITION, (plain(run.definition(seed)) for run in runs))

                async def registered() -> bool:
                    await parts.log.poll(50)
                    refused = [one for one in parts.log.messages if isinstance(one, Refused)]
                    assert not refused, refused[0].problems
                    return sum(isinstance(one, Registered) for one in parts.log.messages) == len(runs)

                await parts.wait("all experiments to be registered", registered)
                await parts.log.stop()
                parts.log = Reader(settings, [ESTIMATE])
                await parts.log.start()
                task = progress.add_task("days", total=len(shop.mean))
                for number in range(len(shop.mean)):
                    day = START + timedelta(days=number - BEFORE)
                    local = period(day, ZONE)
                    await tick(parts.producer, settings, local.start - timedelta(hours=1))
                    dear = np.zeros(len(shop.units), dtype=bool)
                    if number >= BEFORE:
                        middle = milliseconds(local.start + (local.end - local.start) / 2)
                        await parts.wait(f"the assignments of {day}", _informed(client, shop.units, middle))
                        dear = np.array([client.arm(unit, middle) == "dear" for unit in shop.units])
                    sold = shop.sold(rng, number, dear)
                    send(sales, settings.prefixed(SALE), shop, homes, local, number, sold, dear)
                    if number >= DAYS_AHEAD:
                        behind = day - timedelta(days=DAYS_AHEAD)
                        await parts.wait(f"the closing of {behind}", partial(parts.closed_through, behind))
                    progress.advance(task)
                last = period(START + timedelta(days=DAYS - 1), ZONE)
                await tick(parts.producer, settings, last.end + timedelta(hours=1))
                await parts.wait("the last closing", lambda: parts.closed_through(last.day))
            parts.analyse()
            return await _estimated(parts, runs, last.day, progress)
        finally:
            await parts.stop()


def _informed(client: Assignments, units: Sequence[str], at_ms: int) -> Callable[[], Any]:
    waiting = list(units)

    async def done() -> bool:
        known = next((k for k, unit in enumerate(waiting) if client.assignment(unit, at_ms) is None), len(waiting))
        del waiting[:known]
        return not waiting

    return done


async def _estimated(parts: Installation, runs: Sequence[Run], last: date, progress: Progress) -> list[Estimate]:
    """The estimate of units sold on the last day, of each run."""
    found: dict[str, Estimate] = {}
    task = progress.add_task("estimates", total=len(runs))

    async def done() -> bool:
        for message in await parts.estimates.poll(200):
            if _final(message, last):
                assert isinstance(message, Estimate)
                found[message.experiment] = message
        parts.estimates.messages.clear()
        progress.update(task, completed=len(found))
        return len(found) == len(runs)

    await parts.wait("the last estimates", done)
    return [found[run.name] for run in runs]


def _final(message: Message, last: date) -> bool:
    return (
        isinstance(message, Estimate)
        and message.metric == "units"
        and message.through == last
        and message.estimator != OBSERVATIONAL
    )


def _entry(unit: str) -> CatalogEntry:
    return CatalogEntry(unit=unit, time_zone=ZONE, currency="EUR", list_price_minor=PRICE, cost_minor=COST)


@dataclass(frozen=True, slots=True)
class Row:
    """One design at one rate."""

    design: str
    rate: float
    silent: float
    runs: int
    covered: int
    mean: float
    #: Monte-Carlo error of the mean
    error: float
    zeros: float
    without_number: int


def rows_of(runs: Sequence[Run], estimates: Sequence[Estimate], silent: float) -> list[Row]:
    """Coverage and mean by design and rate."""
    rows = []
    for design in dict.fromkeys(run.design for run in runs):
        for rate in RATES:
            mine = [one for run, one in zip(runs, estimates, strict=True) if (run.design, run.rate) == (design, rate)]
            known = [one.relative for one in mine if one.relative is not None]
            values = np.array([one.value for one in known])
            covered = sum(_holds(one.ci_low, one.ci_high) for one in known)
            cells = sum(arm.cells for one in mine for arm in one.cells_by_arm.values())
            zeros = sum(arm.zeros for one in mine for arm in one.cells_by_arm.values())
            error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
            rows.append(
                Row(design, rate, silent, len(mine), covered, float(values.mean()), error, zeros / max(cells, 1),
                    len(mine) - len(known))
            )  # fmt: skip
    return rows


def _holds(low: float | None, high: float | None) -> bool:
    """An interval that cannot be bounded holds everything."""
    return (low is None or low <= EFFECT) and (high is None or high >= EFFECT)


def table(rows: Sequence[Row]) -> Table:
    """For people."""
    shown = Table("design", "sales a unit-day", "silent store-days", "runs", "covered", "mean effect", "error", "zeros")
    for row in rows:
        shown.add_row(row.design, f"{row.rate:g}", f"{row.silent:.0%}", str(row.runs), f"{row.covered / row.runs:.0%}",
                      f"{row.mean:+.2%}", f"{row.error:.2%}", f"{row.zeros:.0%}")  # fmt: skip
    return shown


def main() -> int:
    """Run from the command line; exit code 1 where an interval covers too rarely or a mean is off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="experiments of each design and rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--silent", type=float, nargs="+", default=[0.0, SILENT_SHARE], help="share of store-days")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    runs = [Run(design, rate, k) for design in DESIGNS for rate in RATES for k in range(chosen.runs)]
    begun, rows, seconds = machine(), list[Row](), []
    with servers() as (kafka, redis), Progress(console=Console(stderr=True)) as progress:
        for silent in chosen.silent:
            began, found = time.monotonic(), list[Estimate]()
            for shop, first in enumerate(range(0, chosen.runs, RUNS_A_SHOP)):
                some = [run for run in runs if first <= run.number < first + RUNS_A_SHOP]
                settings = Settings.model_validate({
                    "kafka": kafka.address, "redis": redis.url, "namespace": f"rare-{silent:g}-{shop}",
                    "clock": "ticks",
                })  # fmt: skip
                found += asyncio.run(play(settings, some, chosen.seed + 1000 * shop, silent, progress))
            played = sorted(runs, key=lambda run: run.number // RUNS_A_SHOP)
            rows += rows_of(played, found, silent)
            seconds.append(round(time.monotonic() - began))
    Console().print(table(rows))
    if chosen.json:
        shown = {"machine": begun, "seed": chosen.seed, "seconds": seconds, "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(shown, indent=1) + "\n")
    wrong = [row for row in rows if row.covered < 0.9 * row.runs or abs(row.mean - EFFECT) > 2.0 * row.error]
    for row in wrong:
        print(f"{row.design} at {row.rate:g}, silent {row.silent:g}: covered {row.covered} of {row.runs},"
              f" mean {row.mean:+.2%} +- {row.error:.2%}", file=sys.stderr)  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
