"""Faults in a fixed order, for what chance would seldom hit: a race between two steps of two workers.

A script is given a stage on which the experiment has begun, and returns when everything is mended.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from functools import partial

from tests.chaos.evidence import Fault, first_instant
from tests.chaos.nemesis import KINDS, Nemesis
from tests.chaos.setting import START
from tests.chaos.stage import Stage, stop, tell

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DATES = [date.fromisoformat(START) + timedelta(days=k) for k in range(400)]

Script = Callable[[Stage], Awaitable[None]]

#: real seconds that a worker may take to come by a point
COMES_BY = 30.0


async def days(stage: Stage, number: float) -> None:
    """Let so many days of the shop pass."""
    await asyncio.sleep(number * stage.setting.day_seconds)


async def calm(stage: Stage) -> None:
    """Nothing is done to anybody for some days; around a midnight of each market there is a blackout."""
    for number, (market, zone) in enumerate(sorted(stage.zones.items())):
        soon = stage.pace.now_ms() + 1.2 * DAY_MS
        midnight = next(m for m in (first_instant(day, zone) for day in DATES) if m > soon)
        await stage.black_out(f"midnight-{number}", "market", market, midnight - HOUR_MS, midnight + HOUR_MS)
    await days(stage, 2.7)


async def whoever_comes_by(stage: Stage, point: str, what: str, workers: Sequence[str] = ()) -> str:
    """Ask workers to strike themselves at a point; the first that comes by does, and is named."""
    asked = sorted(workers or stage.workers)
    stage.struck |= set(asked)
    waiting = [asyncio.create_task(stage.ask_point(name, point, what, COMES_BY), name=name) for name in asked]
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    found = [task.get_name() for task in done if task.result()]
    assert found, f"nobody came by {point!r} within {COMES_BY:.0f} s"
    for name in set(asked) - {found[0]}:
        stage.workers[name].resume()  # one that came by at the same instant goes on
        stage.struck.discard(name)
    return found[0]


async def struck(stage: Stage, point: str, what: str, seconds: float, times: int = 2) -> None:
    """Whoever comes by a point is struck there, and comes back after so many seconds; so many times."""
    for _ in range(times):
        worker = await whoever_comes_by(stage, point, what)
        began = time.time()
        tell(f"worker SIG{what.upper()} at {point!r}: {worker}")
        await asyncio.sleep(seconds)
        if what == "stop":
            stage.workers[worker].resume()
        else:
            stage.start_worker(worker)
        stage.struck.discard(worker)
        stage.faults.append(Fault(f"worker SIG{what.upper()} at {point}", worker, began, time.time()))
        await days(stage, 0.3)
    await days(stage, 0.7)


async def frozen_before_decision(stage: Stage) -> None:
    """An owner sleeps between a tick and its decisions; another claims its shard, and sleeps in turn; the first wakes
    up and decides, though it has been succeeded. With one shard for each of two workers."""
    first = await whoever_comes_by(stage, "flip", "stop")
    began = time.time()
    second = await whoever_comes_by(stage, "claim", "stop", sorted(set(stage.workers) - {first}))
    stage.workers[first].resume()
    await asyncio.sleep(0.5 * stage.setting.lease)
    stage.workers[second].resume()
    stage.struck.clear()
    stage.faults.append(Fault("two owners frozen before they decide", f"{first}, {second}", began, time.time()))
    await days(stage, 1.0)


async def all_away(stage: Stage, for_days: float = 1.8) -> None:
    """SIGKILL of every worker for longer than any lease."""
    names = sorted(stage.workers)
    began = time.time()
    stage.struck |= set(names)
    for name in names:
        stage.workers[name].kill()
    await days(stage, for_days)
    for name in names:
        stage.start_worker(name)
    stage.faults.append(Fault("all workers SIGKILL", "all", began, time.time()))
    stage.struck.clear()
    await days(stage, 1.1)


async def away_over_midnight(stage: Stage) -> None:
    """Killed between the decision and its announcement, and nobody there until after the midnight."""
    worker = await whoever_comes_by(stage, "publish", "kill")
    began = time.time()
    tell(f"all workers SIGKILL before they publish: {worker} first")
    stage.struck |= set(stage.workers)
    for name in set(stage.workers) - {worker}:
        stage.workers[name].kill()
    await days(stage, stage.setting.lead_hours / 24 + 0.1)
    for name in sorted(stage.workers):
        stage.start_worker(name)
    stage.struck.clear()
    stage.faults.append(Fault("all workers SIGKILL before they publish", "all", began, time.time()))
    await days(stage, 1.2)


def at_random(seed: int, minutes: float, kinds: Sequence[str] | None = None, every_seconds: float = 2.5) -> Script:
    """The nemesis for so long: all kinds of faults, or these; nothing but time for ``none``."""
    chosen = [kind for kind in (KINDS if kinds is None else kinds) if kind != "none"]

    async def script(stage: Stage) -> None:
        if chosen:
            await Nemesis(stage, seed, chosen, every_seconds).run(time.time() + 60 * minutes)
        else:
            await asyncio.sleep(60 * minutes)

    return script


def in_turn(*scripts: Script) -> Script:
    """One script after the other."""

    async def script(stage: Stage) -> None:
        for one in scripts:
            await one(stage)

    return script


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM to one worker after the other; the next one when this one works again."""
    for name in sorted(stage.workers):
        began = time.time()
        stage.struck.add(name)
        await stop(stage.workers[name])
        stage.start_worker(name)
        stage.struck.discard(name)
        child = stage.workers[name]
        await asyncio.to_thread(child.wait_until, partial(child.said, "shard taken over"), 60.0, "owner of a shard")
        stage.faults.append(Fault("worker SIGTERM and start", name, began, time.time()))
        await days(stage, 0.5)


SCRIPTS: dict[str, Script] = {
    "calm": calm,
    "frozen before its decision": frozen_before_decision,
    "frozen before its fold": lambda stage: struck(stage, "fold", "stop", 3 * stage.setting.lease),
    "killed between": lambda stage: struck(stage, "between", "kill", 0.2),
    "killed before it publishes": lambda stage: struck(stage, "publish", "kill", 0.2),
    "killed before it settles": lambda stage: struck(stage, "settle", "kill", 0.2),
    "frozen before it publishes": lambda stage: struck(stage, "publish", "stop", 1.3 * stage.setting.day_seconds),
    "all away for days": all_away,
    "away over a midnight": away_over_midnight,
}
