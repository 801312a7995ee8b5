"""The demo: everything in one process and one terminal; no Docker, no Java, no settings."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import structlog

from controller.messages.inputs import Blackout, Scope
from controller.time.periods import day_start, local_day
from flipside.replay.environment import ReplayOptions, parts
from flipside.replay.plan import FIRST_DAY, Plan, default_experiment
from flipside.replay.progress import Progress, Result
from flipside.replay.replay import Replayer, replayer
from flipside.sales_history.history import TIME_ZONE
from flipside.simulated_shop.demand import made_up_history
from flipside.simulated_shop.substitution import BEFORE, SubstitutionMarket
from streams.app import run_worker
from streams.kafka.connection import connection
from streams.runtime.clock import WallClock

#: each is taken over in turn, and a newcomer waits for the last
SHARDS = 2
STORES, PRODUCTS = 20, 6
#: days up to today that a served demo plays, and how long its experiment runs
SERVED_DAYS, SERVED_FOR_DAYS = 8, 365
#: these may not change prices for two days in the middle
BLACKOUT_STORES = ("store-3", "store-7", "store-12")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to demonstrate."""

    days: int
    seed: int
    effect: float


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a demo that keeps running can be reached."""

    broker: str
    namespace: str
    #: one of its units
    unit: str
    time_zone: str


async def run_demo(
    options: DemoOptions, on_progress: Callable[[Progress], None], on_first_assignment: Callable[[float], None]
) -> Result:
    """Run the demo to its end; worker, analysis, shop, broker and Redis live and die with this call."""
    history = made_up_history(STORES, PRODUCTS, options.days, np.random.default_rng(options.seed))
    plan = Plan(
        history=history,
        experiment=default_experiment(history, "demo", str(options.seed)),
        effect=options.effect,
        seed=str(options.seed),
        blackouts=blackouts(options.days),
        on_progress=on_progress,
        on_first_assignment=on_first_assignment,
    )
    async with _everything(plan) as shop:
        return await shop.run()


async def run_spillover_demo(market: SubstitutionMarket, seed: int, on_progress: Callable[[Progress], None]) -> Result:
    """The experiment of a market with substitution, through everything, to its end.

    Its relative effect on pieces if all are treated stands for the planted effect.
    """
    plan = Plan(
        history=market.history,
        experiment=market.experiment,
        effect=market.relative_total,
        seed=str(seed),
        before=BEFORE,
        graph=market.graph,
        sells=market.sells,
        on_progress=on_progress,
    )
    async with _everything(plan) as shop:
        return await shop.run()


async def serve_demo(options: DemoOptions, ready: Callable[[Serving], None], stop: asyncio.Event) -> None:
    """Play some days up to today, then keep running under this machine's clock until ``stop``.

    Its stores lie in the time zone whose next midnight is nearest, so that arms change within the hour.
    """
    clock = WallClock()
    zone = nearest_midnight(clock.now())
    past = made_up_history(STORES, PRODUCTS, SERVED_DAYS, np.random.default_rng(options.seed))
    history = replace(past, catalog=tuple(e.model_copy(update={"time_zone": zone}) for e in past.catalog))
    today = local_day(clock.now(), zone)
    experiment = default_experiment(history, "demo", str(options.seed)).model_copy(
        update={"start": today - timedelta(days=SERVED_DAYS - 1), "days": SERVED_FOR_DAYS, "lead_minutes": 30}
    )
    async with _everything(Plan(history, experiment, options.effect, str(options.seed)), namespace="demo") as shop:
        settings = shop.settings
        await shop.serve(lambda unit: ready(Serving(settings.kafka, settings.namespace, unit, zone)), clock.now, stop)


def nearest_midnight(now: datetime) -> str:
    """The zone of whole hours whose local midnight is the next to come, at most an hour ahead."""
    behind = (now.hour + 1) % 24
    hours = behind if behind <= 12 else behind - 24
    return f"Etc/GMT{hours:+d}" if hours else "UTC"


@asynccontextmanager
async def _everything(plan: Plan, namespace: str | None = None) -> AsyncIterator[Replayer]:
    """A replayer with broker, Redis, worker and analysis of its own, all in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(parts(ReplayOptions(plan.effect, plan.seed, namespace=namespace), SHARDS))
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
            plan.on_first_assignment(seconds)
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

        started = replace(
            plan, on_submitted=submitted.set, on_first_assignment=first_assignment, check_alive=check_alive
        )
        yield await stack.enter_async_context(replayer(settings, started))


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
