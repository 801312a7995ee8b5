"""One run: a stage, a script of faults, rest, evidence."""

import asyncio
import contextlib
import random
import shutil
import sys
from pathlib import Path

from aiokafka.errors import KafkaError

from tests.chaos.evidence.collect import collect, rest
from tests.chaos.evidence.evidence import Evidence, save
from tests.chaos.faults.scripts import Script
from tests.chaos.shop.pace import DAY
from tests.chaos.shop.setting import Setting
from tests.chaos.shop.stage import Stage, ended, lasting, staged, tell

DAY_MS = int(DAY * 1000)


async def black_out_now_and_then(stage: Stage, seed: int) -> None:
    """Announce windows more than a day ahead: for a unit, a market, everything."""
    chance, number = random.Random(f"blackouts {seed}"), 0
    while True:
        number += 1
        kind = chance.choice(("unit", "market", "market", "global"))
        name = {
            "unit": chance.choice(stage.units),
            "market": chance.choice(sorted(stage.zones)),
            "global": "",
        }[kind]
        starts = stage.pace.now_ms() + round(chance.uniform(1.3, 2.0) * DAY_MS)
        ends = starts + round(chance.uniform(0.3, 2.0 if kind != "global" else 0.5) * DAY_MS)
        # One that the brokers do not take binds nobody.
        with contextlib.suppress(KafkaError):
            await stage.black_out(f"window-{number}", kind, name, starts, ends)
        await lasting(chance.uniform(0.5, 1.5) * stage.setting.day_seconds)


async def run(setting: Setting, script: Script) -> tuple[Evidence, Path]:
    """A run on a stage of its own; returns the evidence, and the folder in which it and the processes' logs are kept.

    Raises AssertionError where a part of the stage itself fails.
    """
    async with staged(setting) as stage:
        try:
            windows = asyncio.create_task(black_out_now_and_then(stage, setting.seed))
            under_way = asyncio.create_task(script(stage))
            # Where a part of the stage fails there is no use in going on for half an hour.
            await asyncio.wait([under_way, windows, *stage.watching], return_when=asyncio.FIRST_COMPLETED)
            if not under_way.done():
                await ended([under_way, windows, *stage.watching])
            under_way.result()
            await ended([windows])
            tell("no more faults")
            resting = await rest(stage)
            tell("at rest")
            evidence = await collect(stage, resting)
            save(evidence, stage.kept / "evidence.json.gz")
        except BaseException:
            print(f"the logs of its processes: {keep_logs(stage)}", file=sys.stderr)
            raise
        return evidence, keep_logs(stage)


def keep_logs(stage: Stage) -> Path:
    """Copy what the processes said to the folder that stays."""
    for file in stage.sandbox.folder.iterdir():
        if file.suffix in (".log", ".jsonl"):
            shutil.copy(file, stage.kept)
    return stage.kept
