"""``flipside demo --serve``: a client is tried against a demo that keeps running, by the lines that it prints."""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flipside.commands.demo import served_lines
from flipside.replay.demo import Serving, nearest_midnight
from streams.runtime.settings import child_environment


@pytest.mark.timeout(180)
async def test_the_printed_lines_read_an_arm_and_the_demo_ends_when_asked_to() -> None:
    environment = child_environment({})
    served = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flipside", "demo", "--serve", "--json", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert served.stdout is not None
    at = Serving(**json.loads(await served.stdout.readline()))
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "\n".join(served_lines(at)), env=environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await client.communicate()
    assert client.returncode == 0
    assert said.decode().strip() in ("control", "treatment"), "an arm holds now, not from the next midnight on"
    served.send_signal(signal.SIGINT)
    assert await served.wait() == 0


@pytest.mark.parametrize("hour", range(24))
def test_the_next_midnight_of_a_served_demo_is_at_most_an_hour_ahead(hour: int) -> None:
    now = datetime(2027, 5, 4, hour, 20, tzinfo=UTC)
    local = now.astimezone(ZoneInfo(nearest_midnight(now)))
    assert (local + timedelta(hours=1)).date() > local.date()
