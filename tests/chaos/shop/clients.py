"""A fleet of pricing systems in a process of its own: each asks for every unit at every half hour of the shop.

``python -m tests.chaos.shop.clients BOOTSTRAP NAMESPACE FILE FLEET UNIT...``: a FLEET of ``3`` is three clients that
stay; ``cold`` is one that begins anew for every look. The history is one JSON object a line:
``{"client", "life", "t", "real", "arms", "why"}``, arms in the order of the units, null for control; why by its first
letter (a, l, n, r, u as assigned, lapsed, announced, released, unknown).
"""

import asyncio
import json
import os
import sys
import time
from typing import TextIO

from flipside_client import Assignments
from flipside_client.errors import FlipsideClientError
from tests.chaos.faults.planted import BUGS
from tests.chaos.shop.pace import Opening, Pace

GRID_MS = 1_800_000
LETTERS = {"assigned": "a", "lapsed": "l", "announced": "n", "released": "r", "unknown": "u", "loading": "-"}


def new_client(bootstrap: str, namespace: str, bug: str) -> Assignments:
    client = Assignments(bootstrap, namespace, ready_timeout_seconds=60.0)
    fold = BUGS[bug].fold if bug else None
    if fold is not None:
        client._fold = fold()
    return client


def look(client: Assignments, name: str, life: int, t: int, units: list[str], file: TextIO) -> None:
    prices = [client.price(unit, t) for unit in units]
    arms = [client.arm(unit, t) for unit in units]
    line = {
        "client": name,
        "life": life,
        "t": t,
        "real": time.time(),
        "arms": arms,
        "why": "".join(LETTERS[price.why] for price in prices),
    }
    file.write(json.dumps(line) + "\n")


async def next_look(pace: Pace) -> int:
    """Wait for the next instant on the grid."""
    t = (pace.now_ms() // GRID_MS + 1) * GRID_MS
    await asyncio.sleep(max(pace.real(t) - time.time(), 0.0))
    return t


async def stay(name: str, bootstrap: str, namespace: str, units: list[str], pace: Pace, file: TextIO) -> None:
    async with new_client(bootstrap, namespace, os.environ.get("CHAOS_BUG", "")) as client:
        while True:
            look(client, name, 0, await next_look(pace), units, file)


async def begin_anew(name: str, bootstrap: str, namespace: str, units: list[str], pace: Pace, file: TextIO) -> None:
    life = 0
    while True:
        life += 1
        try:
            async with new_client(bootstrap, namespace, "") as client:
                look(client, name, life, await next_look(pace), units, file)
        except FlipsideClientError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(0.5)


async def main() -> None:
    bootstrap, namespace, path, fleet, *units = sys.argv[1:]
    pace = Opening.from_environment().pace()
    with open(path, "w", buffering=1) as file:
        if fleet == "cold":
            await begin_anew("cold", bootstrap, namespace, units, pace, file)
        names = [f"warm-{number}" for number in range(int(fleet))]
        await asyncio.gather(*(stay(name, bootstrap, namespace, units, pace, file) for name in names))


if __name__ == "__main__":
    asyncio.run(main())
