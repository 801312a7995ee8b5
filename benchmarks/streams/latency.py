"""From a rival's price to the assignment in a pricing system, with everything running: p50 and p99.

A real Kafka and a real Redis, a worker as it is installed, sales being counted, and so many rivals' prices a second,
each of a unit that a triggered experiment watches. Some of them undercut us: the rule fires, the owner answers, the
unit's assignment goes out and is seen by `flipside_client.Assignments`. The time runs from before the price is handed
to its producer until the client's callback is told of the assignment.

Run: python -m benchmarks.streams.latency [--rates 1000 10000] [--seconds 20] [--workers 1] [--json]. Beside it, in the
same
run, the least that it could take: one bare hop of the same prices through the same Kafka. Waits for a full minute to
begin, and until the broker has compiled what it runs often: some 40 s of prices that are not measured.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.streams.installation import (
    CURRENCY,
    Parts,
    compiled_since,
    compiler_seconds,
    fill_catalog,
    hold_for_good,
    machine,
    noon_zone,
    publish,
    servers,
    start_worker,
    tomorrow,
    unit,
)
from benchmarks.streams.owners_systems import (
    TRIGGERS_A_SECOND,
    WARM_UP_SECONDS,
    Plan,
    above_ours,
    generated,
    say,
    warm_up,
)
from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.parameters import Triggered, Undercut
from controller.messages.topics import COMPETITOR_PRICE, DEFINITION
from flipside.simulated_shop.shop import plain
from flipside_client import Assignments, Change
from streams.embedded.processes import Sandbox
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.parts.kafka import LONG_LIVED

MARKETS = 50
SALES_A_SECOND = 1_000
#: so long prices go at most until the broker has compiled what it runs often
MOST_WARM_UP_SECONDS = 150.0
#: so long the bare hop is measured at each rate, before prices undercut us
HOP_SECONDS = 5.0
#: an entry begins so long after its trigger: tomorrow at noon, a day that is given out already
DELAY = timedelta(days=1)
PATIENCE_SECONDS = 100.0
#: how long a broker holds back the client's fetch that finds nothing; docs/pricing-engineer.md says when to set it
CLIENT_FETCH_WAIT_MS = 10


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one run."""

    rate: int
    #: prices that were handed to the producer a second, which says whether the rate was kept
    sent_a_second: float
    triggers: int
    seen: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    worst_ms: float
    #: one bare hop of the same prices
    hop_p50_ms: float
    hop_p99_ms: float
    #: share of a core, by process
    cores: dict[str, float]


class Watch:
    """What a client tells of: milliseconds from a unit's undercut to its assignment, as they came."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.found: list[float] = []

    def __call__(self, change: Change) -> None:
        if change.kind == "announced" and change.unit in self.waiting:
            self.waiting.discard(change.unit)
            self.found.append(time.time() * 1000 - (change.at_ms - DELAY / timedelta(milliseconds=1)))

    def begin(self, units: Sequence[str]) -> None:
        self.waiting, self.found = set(units), []


async def hop(settings: Settings, done: asyncio.Event) -> list[float]:
    """Milliseconds that the prices of one partition take through Kafka to a consumer that does nothing."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, auto_offset_reset="latest", fetch_max_wait_ms=50
    )
    await consumer.start()
    found = []
    try:
        consumer.assign([TopicPartition(settings.prefixed(COMPETITOR_PRICE), 0)])
        while not done.is_set():
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time.time() * 1000
                found += [now - record.timestamp for record in records[:: max(1, len(records) // 4)]]
    finally:
        await consumer.stop()
    return found


def percentiles(found: Sequence[float]) -> dict[int, float]:
    cuts = quantiles(found, n=100, method="inclusive")
    return {percent: cuts[percent - 1] for percent in (50, 90, 99)}


async def measure(settings: Settings, watch: Watch, plan: Plan, parts: Parts) -> Latency:
    """One rate: first without an undercut, when one bare hop is measured, then with them."""
    done = asyncio.Event()
    hopping = asyncio.create_task(hop(settings, done))
    await generated(settings, replace(plan, undercut=(), seconds=HOP_SECONDS), f"h{plan.rate}")
    done.set()
    hops = await hopping
    watch.begin(plan.undercut)
    began, cpu, own = time.perf_counter(), parts.cpu_seconds(), time.process_time()
    compiling = compiler_seconds(parts.pids["kafka"])
    sent, moved, used = await generated(settings, plan, f"r{plan.rate}")
    passed = time.perf_counter() - began
    taken = {name: (after - cpu[name]) / passed for name, after in parts.cpu_seconds().items()}
    taken |= {"client": (time.process_time() - own) / passed, "owner's systems": used / passed}
    taken["kafka's compiler"] = compiled_since(compiling, parts.pids["kafka"]) / passed
    await asyncio.sleep(2.0)
    found = watch.found
    part, bare = percentiles(found), percentiles(hops[len(hops) // 10 :])
    return Latency(
        rate=plan.rate, sent_a_second=sent, triggers=moved, seen=len(found), p50_ms=part[50], p90_ms=part[90],
        p99_ms=part[99], worst_ms=max(found), hop_p50_ms=bare[50], hop_p99_ms=bare[99],
        cores={name: round(share, 2) for name, share in taken.items()},
    )  # fmt: skip


def definition(units: Sequence[str], now: datetime, time_zone: str) -> Experiment:
    """An experiment from tomorrow on, whose first assignments go out with the next full minute."""
    start, midnight = tomorrow(now, time_zone)
    lead = int(((midnight - now).total_seconds() - 5) // 60)
    return Experiment(
        name="bench", currency=CURRENCY, units=tuple(units), start=start, days=28, seed="s", lead_minutes=lead,
        arms=(Arm(name="control"), Arm(name="lower", price=PriceRule.model_validate_json('{"percent": "-5"}'))),
        design=Triggered(
            kind="triggered", rule=Undercut(kind="undercut"), treatment_days=7,
            delay_minutes=round(DELAY.total_seconds() / 60),
        ),
    )  # fmt: skip


async def run(
    rates: Sequence[int], seconds: float, number: int, sales: int, count: int, profile: str, most_warm_up: float
) -> list[Latency]:
    # Measured is a broker as it is operated, and once it has warmed up.
    with servers(jvm=LONG_LIVED) as (kafka, redis), Sandbox("flipside-latency-") as sandbox:
        settings = Settings.model_validate({"kafka": kafka.address, "redis": redis.url, "namespace": "latency"})
        await create_topics(settings)
        units = tuple(unit(k, MARKETS) for k in range(number))
        time_zone = noon_zone(datetime.now(UTC))
        fill_catalog(settings, units, time_zone)
        workers = [
            start_worker(sandbox, settings, f"worker-{k}", profile="" if k else profile, log_level="warning")
            for k in range(count)
        ]
        parts = Parts({"kafka": kafka.pid(), "redis": redis.pid} | {worker.name: worker.pid for worker in workers})
        say(f"{number:,} units; the first day goes out with the next full minute")
        publish(settings, COMPETITOR_PRICE, above_ours(units, "before"))
        defined = definition(units, datetime.now(UTC), time_zone)
        publish(settings, DEFINITION, [plain(defined)])
        found, watch = [], Watch()
        async with Assignments(
            settings.kafka,
            settings.namespace,
            on_change=watch,
            fetch_wait_ms=CLIENT_FETCH_WAIT_MS,
            ready_timeout_seconds=60,
        ) as client:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while len(client.units()) < number:
                said = "\n".join(worker.tail() for worker in workers)
                assert time.monotonic() < deadline, f"the first day did not go out\n{said}"
                assert all(worker.running() for worker in workers), said
                await asyncio.sleep(0.1)
            hold_for_good()
            # Rivals' prices count from the registration on.
            publish(settings, COMPETITOR_PRICE, above_ours(units, "again"))
            await asyncio.sleep(3.0)
            each = min(number // (2 * len(rates)), round(seconds * TRIGGERS_A_SECOND) + 1)
            groups = [units[k * each : (k + 1) * each] for k in range(len(rates))]
            others = units[len(rates) * each :]
            warming, rest = others[: len(others) // 2], others[len(others) // 2 :]
            say(f"{max(rates):,} prices a second, not measured, until the broker has compiled what it runs often")
            warming_up = Plan(max(rates), WARM_UP_SECONDS, warming, rest, sales)
            await warm_up(settings, warming_up, kafka.pid(), most_warm_up)
            for rate, undercut in zip(rates, groups, strict=True):
                plan = Plan(rate, seconds, undercut, (*undercut, *rest), sales)
                say(f"{rate:,} prices a second for {seconds:g} s, {TRIGGERS_A_SECOND} of them undercut")
                found.append(await measure(settings, watch, plan, parts))
        for worker in workers:
            worker.stop()
        return found


def result(
    rates: Sequence[int], seconds: float, units: int, sales: int, workers: int, profile: str, most_warm_up: float
) -> dict[str, Any]:
    """What is printed, as JSON has it."""
    begun = machine()
    found = asyncio.run(run(rates, seconds, units, sales, workers, profile, most_warm_up))
    shown = {"machine": begun, "units": units, "workers": workers, "sales_a_second": sales}
    return shown | {"runs": [asdict(one) for one in found]}


def table(shown: dict[str, Any]) -> str:
    lines = ["| prices a second | kept | triggers | p50, ms | p90 | p99 | worst | a bare hop, p50 | p99 |"]
    lines += ["| ---: |" * 1 + " ---: |" * 8]
    for one in shown["runs"]:
        lines.append(
            f"| {one['rate']:,} | {one['sent_a_second']:,.0f} | {one['seen']} of {one['triggers']} "
            f"| {one['p50_ms']:.1f} | {one['p90_ms']:.1f} | {one['p99_ms']:.1f} | {one['worst_ms']:.1f} "
            f"| {one['hop_p50_ms']:.1f} | {one['hop_p99_ms']:.1f} |"
        )
    lines += [""]
    for one in shown["runs"]:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in one["cores"].items())
        lines.append(f"cores at {one['rate']:,} a second: {shares}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 10_000], help="prices a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate, with prices that undercut us")
    parser.add_argument("--units", type=int, default=10_000, help="in 50 markets, all of them watched")
    parser.add_argument("--sales", type=int, default=SALES_A_SECOND, help="sales a second beside the prices")
    parser.add_argument("--workers", type=int, default=1, help="that share the work")
    parser.add_argument(
        "--warm-up", type=float, default=MOST_WARM_UP_SECONDS, help="at most so long until the broker has compiled"
    )
    parser.add_argument("--profile", default="", help="write what cProfile sees of the first worker to this file")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args(arguments)
    shown = result(
        options.rates, options.seconds, options.units, options.sales, options.workers, options.profile, options.warm_up
    )
    print(json.dumps(shown) if options.json else f"{shown['machine']}\n\n{table(shown)}")
    return 0 if all(one["seen"] == one["triggers"] for one in shown["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
