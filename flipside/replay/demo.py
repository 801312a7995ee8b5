"""The demo: everything in one process and one terminal; no Docker, no Java, no settings."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import structlog

from controller.messages.inputs import Blackout, Scope
from controller.time.periods import day_start
from flipside.replay.environment import ReplayOptions, parts
from flipside.replay.progress import Progress, Result
from flipside.replay.replay import FIRST_DAY, Plan, default_experiment, replayer
from flipside.sales_history.history import TIME_ZONE
from flipside.simulated_shop.demand import made_up_history
from streams.app import run_worker
from streams.kafka.connection import connection

#: each is taken over in turn, and a newcomer waits for the last
SHARDS = 2
STORES, PRODUCTS = 20, 6
#: these may not change prices for two days in the middle
BLACKOUT_STORES = ("store-3", "store-7", "store-12")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to demonstrate."""

    days: int
    seed: int
    effect: float


async def run_demo(
    options: DemoOptions, on_progress: Callable[[Progress], None], on_first_assignment: Callable[[float], None]
) -> Result:
    """Run the demo to its end; worker, analysis, shop, broker and Redis live and die with this call."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    history = made_up_history(STORES, PRODUCTS, options.days, np.random.default_rng(options.seed))
    experiment = default_experiment(history, "demo", str(options.seed))
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(parts(ReplayOptions(options.effect, str(options.seed)), SHARDS))
        stop = asyncio.Event()
        submitted, opened = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            # The embedded broker answers a fetch that found nothing only when its time is up, and Faust's is 1.5 s:
            # what it shall read at once is there before it asks.
            await submitted.wait()
            await run_worker(settings, "demo-worker", stop)

        async def analyse() -> None:
            # Arms come first: the libraries of the analysis take as long to load as all the rest.
            await opened.wait()
            from analysis.worker import worker as analysis_worker

            await analysis_worker.run(connection(settings), settings.namespace, stop)

        def first_assignment(seconds: float) -> None:
            on_first_assignment(seconds)
            opened.set()

        duties = [
            asyncio.create_task(work()),
            asyncio.create_task(analyse()),
        ]

        async def end() -> None:
            stop.set()
            submitted.set()
            opened.set()
            await asyncio.gather(*duties, return_exceptions=True)

        stack.push_async_callback(end)

        def check_alive() -> None:
            for duty in duties:
                if duty.done():
                    duty.result()

        plan = Plan(
            history=history,
            experiment=experiment,
            effect=options.effect,
            seed=str(options.seed),
            blackouts=blackouts(options.days),
            on_progress=on_progress,
            on_submitted=submitted.set,
            on_first_assignment=first_assignment,
            check_alive=check_alive,
        )
        return await (await stack.enter_async_context(replayer(settings, plan))).run()


def blackouts(days: int) -> tuple[Blackout, ...]:
    """Two days in the middle in which some stores' prices must not change."""
    first = FIRST_DAY + timedelta(days=days // 2)
    return tuple(
        Blackout(
            id=f"inventory-{store}",
            scope=Scope(kind="market", name=store),
            starts_at=day_start(first, TIME_ZONE),
            ends_at=day_start(first + timedelta(days=2), TIME_ZONE),
            reason="inventory",
        )
        for store in BLACKOUT_STORES
    )
