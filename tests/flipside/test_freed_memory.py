"""A long-lived process gives freed memory back to the system, and ends with its duty."""

import asyncio
import os
from pathlib import Path

import pytest

from flipside.freed_memory import giving_back
from tests.e2e.running import eventually

MEGABYTES = 100


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_what_was_freed_below_something_that_stays_is_given_back_while_the_duty_runs() -> None:
    async def duty(stop: asyncio.Event) -> None:
        fetched = [bytearray(b"x") * 50_000 for _ in range(MEGABYTES * 20)]
        kept = bytearray(b"x") * 50_000  # above all others: glibc lowers the end of its heap below it only
        held = resident_mb()
        del fetched

        async def given_back() -> bool:
            return resident_mb() < held - 0.8 * MEGABYTES

        await eventually("memory to be given back", given_back)
        assert kept
        assert not stop.is_set()

    await giving_back(duty, every_seconds=0.01)(asyncio.Event())


async def test_nothing_of_it_outlasts_a_duty_that_fails() -> None:
    async def duty(_: asyncio.Event) -> None:
        raise ValueError("as it may be")

    with pytest.raises(ValueError, match="as it may be"):
        await giving_back(duty)(asyncio.Event())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
