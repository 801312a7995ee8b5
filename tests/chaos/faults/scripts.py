"""Faults in a fixed order, for what chance would seldom hit: a race between two steps of two workers.

A script is given a stage on which the experiment has begun, and returns when everything is mended.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any

from tests.chaos.evidence.evidence import Fault, first_instant
from tests.chaos.evidence.seen import every_input_moves_on, every_market_decides, treated
from tests.chaos.faults.nemesis import KINDS, Nemesis
from tests.chaos.shop.setting import START
from tests.chaos.shop.stage import Stage, lasting, stop, tell

HOUR_MS = 3_600_000
DATES = [date.fromisoformat(START) + timedelta(days=k) for k in range(400)]

Script = Callable[[Stage], Coroutine[None, None, None]]

#: real seconds that a worker may take to come by a point: a horizon, not a duration
COMES_BY = 120.0


async def over(stage: Stage, t: int) -> None:
    """Wait until the shop's clock shows an instant."""
    await lasting(stage.pace.real(t) - time.time())


async def calm(stage: Stage) -> None:
    """Nothing is done to anybody until each market has decided and begun a day."""
    await every_market_decides(stage, 2)


async def blacked_out(stage: Stage) -> None:
    """Blackouts around a midnight of three markets, announced half a day before those are decided."""
    soon = stage.pace.now_ms() + (stage.setting.lead_hours + 12) * HOUR_MS
    midnights = {
        market: next(m for m in (first_instant(day, zone) for day in DATES) if m > soon)
        for market, zone in stage.zones.items()
    }
    nearest = sorted(midnights, key=lambda market: midnights[market])[:3]
    for number, market in enumerate(nearest):
        midnight = midnights[market]
        await stage.black_out(f"midnight-{number}", "market", market, midnight - HOUR_MS, midnight + HOUR_MS)
    await over(stage, midnights[nearest[-1]] + HOUR_MS)


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


async def killed(stage: Stage, point: str) -> None:
    """Whoever comes by a point is killed there, and started again at once."""
    worker = await whoever_comes_by(stage, point, "kill")
    began = time.time()
    tell(f"worker SIGKILL at {point!r}: {worker}")
    stage.start_worker(worker)
    stage.struck.discard(worker)
    stage.note(Fault(f"worker SIGKILL at {point}", worker, began, time.time()))


async def frozen(stage: Stage, point: str, until: Callable[[Stage], Awaitable[None]]) -> None:
    """Whoever comes by a point sleeps there until something has happened without it."""
    worker = await whoever_comes_by(stage, point, "stop")
    began = time.time()
    tell(f"worker SIGSTOP at {point!r}: {worker}")
    await until(stage)
    stage.workers[worker].resume()
    stage.struck.discard(worker)
    stage.note(Fault(f"worker SIGSTOP at {point}", worker, began, time.time()))


async def frozen_before_decision(stage: Stage) -> None:
    """The owner sleeps between a tick and its decisions; the other worker claims its shard, and sleeps in turn; the
    first wakes up and decides, though it has been succeeded. There is one shard, so that both mean the same."""
    first = await whoever_comes_by(stage, "flip", "stop")
    began = time.time()
    second = await whoever_comes_by(stage, "claim", "stop", sorted(set(stage.workers) - {first}))
    before = len(stage.writes)
    stage.workers[first].resume()
    # The fault's own duration: for so long the second one leaves the field to the first.
    await lasting(0.5 * stage.setting.lease)
    stage.workers[second].resume()
    tell(f"{first} woke up after {second} had claimed its shard; Redis carried out {len(stage.writes) - before} writes")
    stage.struck.clear()
    stage.note(Fault("two owners frozen before they decide", f"{first}, {second}", began, time.time()))


async def all_away(stage: Stage) -> None:
    """SIGKILL of every worker, while clients show arms, until each lease has ended; back when clients follow again."""
    await treated(stage)
    names = sorted(stage.workers)
    began, t = time.time(), stage.pace.now_ms()
    stage.struck |= set(names)
    tell("all workers SIGKILL")
    for name in names:
        stage.workers[name].kill()
    # The last day that can have been announced ends a lead and a day later; a quarter more, to be looked at.
    await over(stage, t + (stage.setting.lead_hours + 30) * HOUR_MS)
    for name in names:
        stage.start_worker(name)
    stage.note(Fault("all workers SIGKILL", "all", began, time.time()))
    stage.struck.clear()
    await treated(stage)


async def without_the_others(stage: Stage, worker: str, t: int) -> None:
    """SIGKILL of all but one, until what was to be announced at an instant has begun."""
    stage.struck |= set(stage.workers)
    for name in set(stage.workers) - {worker}:
        stage.workers[name].kill()
    await over(stage, t + stage.setting.lead_hours * HOUR_MS + HOUR_MS)


def all_back(stage: Stage) -> None:
    for name in sorted(stage.workers):
        stage.start_worker(name)
    stage.struck.clear()


async def away_over_midnight(stage: Stage) -> None:
    """Killed between the decision and its announcement, and nobody there until after the midnight."""
    worker = await whoever_comes_by(stage, "publish", "kill")
    began, t = time.time(), stage.pace.now_ms()
    tell(f"all workers SIGKILL before they publish: {worker} first")
    await without_the_others(stage, worker, t)
    all_back(stage)
    stage.note(Fault("all workers SIGKILL before they publish", "all", began, time.time()))


async def asleep_over_midnight(stage: Stage) -> None:
    """An owner sleeps between its look at the clock and the brokers, over a midnight, and nobody is there in its place.
    It wakes up, sends, and is killed before it can put anything back; much later somebody comes."""
    worker = await whoever_comes_by(stage, "publish", "stop")
    began, t = time.time(), stage.pace.now_ms()
    tell(f"worker SIGSTOP before it publishes: {worker}; the others SIGKILL")
    await without_the_others(stage, worker, t)
    ended = asyncio.create_task(stage.ask_point(worker, "put back", "kill", COMES_BY))
    stage.workers[worker].resume()
    assert await ended, f"{worker} put nothing back within {COMES_BY:.0f} s"
    tell(f"worker SIGKILL before it puts back: {worker}")
    await over(stage, stage.pace.now_ms() + 6 * HOUR_MS)
    all_back(stage)
    stage.note(Fault("worker SIGSTOP over a midnight, the others SIGKILL", worker, began, time.time()))


def at_random(seed: int, minutes: float, kinds: Sequence[str] | None = None, every_seconds: float = 2.5) -> Script:
    """The nemesis for so long: all kinds of faults, or these; nothing but time for ``none``."""
    chosen = [kind for kind in (KINDS if kinds is None else kinds) if kind != "none"]

    async def script(stage: Stage) -> None:
        if chosen:
            await Nemesis(stage, seed, chosen, every_seconds).run(time.time() + 60 * minutes)
        else:
            await lasting(60 * minutes)

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
        stage.note(Fault("worker SIGTERM and start", name, began, time.time()))


@dataclass(frozen=True, slots=True)
class Scripted:
    """A script, and the stage that it needs."""

    script: Script
    #: what differs from `tests.chaos.faults.plant.SMALL`
    setting: Mapping[str, Any] = field(default_factory=dict)


SCRIPTS: dict[str, Scripted] = {
    # Nobody is struck: no worker that is short of processor time must be taken for lost.
    "calm": Scripted(calm, {"day_seconds": 8.0, "session_ms": 10_000}),
    "blacked out": Scripted(blacked_out, {"session_ms": 10_000}),
    "frozen before its decision": Scripted(frozen_before_decision, {"partitions": 1}),
    "frozen before its fold": Scripted(lambda stage: frozen(stage, "fold", every_input_moves_on)),
    "killed between": Scripted(lambda stage: killed(stage, "between")),
    "killed before it publishes": Scripted(lambda stage: killed(stage, "publish")),
    # Decided again before that day begins: half a day must be longer than it takes to be replaced.
    "killed before it settles": Scripted(lambda stage: killed(stage, "settle"), {"day_seconds": 30.0}),
    "frozen before it publishes": Scripted(
        lambda stage: frozen(stage, "publish", partial(every_market_decides, further=2)), {"day_seconds": 8.0}
    ),
    "all away for days": Scripted(all_away, {"day_seconds": 8.0}),
    "away over a midnight": Scripted(away_over_midnight),
    "asleep over a midnight": Scripted(asleep_over_midnight),
}
