"""Is what memory says what Kafka and Redis publish? Markets of `benchmarks.spillover.market`, replayed end to end.

    python -m benchmarks.spillover.replayed --seeds 20 --write benchmarks/results/spillover_replayed.json

Each seed's graph is published, its definition names the version, a worker draws and counts, an analysis publishes. The
same market is played in memory under the registered definition. Seeds that the file has are not replayed again.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from analysis.panel_data.study import Metric
from analysis.spillover.market import scenario
from analysis.worker.spillover import published_spillover
from benchmarks.spillover.market import METRICS, Row, expected, summary
from benchmarks.spillover.shops import (
    BEFORE,
    COST,
    DAYS,
    LOG_DEAR,
    MAX_SIZE,
    PRICE,
    World,
    case_of,
    truths,
    world_of,
)
from controller.definition.experiment import ClustersFrom
from controller.definition.field_types import product_of
from controller.messages.events import Registered, SpilloverEffects
from controller.messages.graphs import Cut, GraphPart, records_of
from flipside.replay.environment import ReplayOptions, parts, processes
from flipside.replay.plan import Plan
from flipside.replay.progress import Result
from flipside.replay.replay import replayer
from flipside.simulated_shop.substitution import PUBLISHED, history_of, sells_of
from streams.kafka.topics import create_topics
from tests.parts.kafka import Kafka
from tests.parts.redis_server import RedisServer

ZONE, CURRENCY = "Europe/Vienna", "EUR"


def published_form(world: World) -> tuple[GraphPart, ...]:
    """The graph of a world with its clusters, as an owner publishes it."""
    clusters = world.experiment.clusters
    assert isinstance(clusters, dict)
    products = {name: tuple(product_of(unit) for unit in units) for name, units in clusters.items()}
    cut = Cut(products, world.cut, 0.0)
    graph = world.substitutes
    return tuple(records_of(graph.version, len(world.experiment.units), graph.pairs, {MAX_SIZE: cut}, PUBLISHED))


def plan_of(world: World, seed: int) -> Plan:
    """The world as a replay: its definition names the graph instead of clusters."""
    units = world.experiment.units
    named = ClustersFrom(graph=world.substitutes.version, max_size=MAX_SIZE)
    asked = world.experiment.model_copy(update={"clusters": "unit", "clusters_from": named})
    return Plan(
        history=history_of(units, ZONE, BEFORE + DAYS, PRICE, COST, CURRENCY),
        experiment=asked,
        effect=0.0,
        seed=str(seed),
        before=BEFORE,
        graph=published_form(world),
        sells=sells_of(world.shop, units, seed, LOG_DEAR),
    )


async def replay(plan: Plan, kafka: str, redis: str) -> Result:
    """Through a worker and an analysis of its own, in a namespace of its own."""
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(parts(ReplayOptions(plan.effect, plan.seed, kafka, redis)))
        await create_topics(settings)
        running = await stack.enter_async_context(processes(settings))
        watched = replace(plan, check_alive=running.check)
        return await (await stack.enter_async_context(replayer(settings, watched))).run()


def last_effects(result: Result) -> dict[Metric, SpilloverEffects]:
    """Of each metric, as the last estimate has them."""
    last = max(e.through for e in result.estimates if e.through is not None)
    newest = sorted((e for e in result.estimates if e.through == last), key=lambda e: e.revision)
    return {e.metric: e.spillover for e in newest if e.spillover is not None}


def difference(one: SpilloverEffects, two: SpilloverEffects) -> float:
    """The largest relative difference of any number; infinite where one of them is absent and the other is not."""
    if [(e.effect, e.estimator, e.dropped) for e in one.effects] != [
        (e.effect, e.estimator, e.dropped) for e in two.effects
    ]:
        return math.inf
    found = 0.0
    for first, second in zip(one.effects, two.effects, strict=True):
        for name in ("value", "se", "ci_low", "ci_high"):
            a, b = getattr(first, name), getattr(second, name)
            if (a is None) != (b is None):
                return math.inf
            if a is not None:
                found = max(found, abs(a - b) / max(abs(a), abs(b), 1e-12))
    return found


def judged(seed: int, kafka: str, redis: str) -> dict[str, Any]:
    """One seed end to end, and how far memory is from it."""
    began = time.monotonic()
    world = world_of(seed)
    result = asyncio.run(replay(plan_of(world, seed), kafka, redis))
    registered = next(m for m in result.messages if isinstance(m, Registered))
    played = replace(world, experiment=registered.experiment)
    memory, published = published_spillover(case_of(played, seed)), last_effects(result)
    rows = [asdict(row) for row in rows_of(played, seed, published)]
    return {
        "seed": seed,
        "difference": max(difference(memory[metric], published[metric]) for metric in METRICS),
        "violations": result.violations,
        "sales": [result.events_in, result.events_counted],
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
    }


def rows_of(world: World, seed: int, found: Mapping[Metric, SpilloverEffects]) -> Iterator[Row]:
    """Every published number beside what it is about, as `benchmarks.spillover.market` has them."""
    planted, by_design = truths(world), expected(world, seed)
    for metric in METRICS:
        for e in found[metric].effects:
            about = by_design[metric].get(e.effect) if e.estimator == "hajek" else None
            truth = getattr(planted[metric], e.effect) if about is None else about
            yield Row(
                seed, metric, e.effect, e.estimator, truth, e.value, e.se, e.ci_low, e.ci_high, e.dropped, world.cut
            )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--skip", type=int, default=0, help="so many of the seeds, from the first")
    parser.add_argument("--write", type=Path, required=True)
    chosen = parser.parse_args()
    first, path = scenario().judging_seeds[0] + chosen.skip, chosen.write
    done: list[dict[str, Any]] = json.loads(path.read_text())["replays"] if path.exists() else []
    todo = [seed for seed in range(first, first + chosen.seeds) if seed not in {one["seed"] for one in done}]
    with Kafka() as kafka, RedisServer() as redis:
        for seed in todo:
            done.append(judged(seed, kafka.address, redis.url))
            print(json.dumps({k: v for k, v in done[-1].items() if k != "rows"}), flush=True)
            _write(sorted(done, key=lambda one: one["seed"]), path)


def _write(done: list[dict[str, Any]], path: Path) -> None:
    rows = [Row(**row) for one in done for row in one["rows"]]
    body = {
        "replays": done,
        "largest_difference": max(one["difference"] for one in done),
        "summary": summary(rows),
    }
    path.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
