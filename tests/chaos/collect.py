"""From a stage to evidence: wait until the system has come to rest, then read everything that can be read."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from tests.chaos.evidence import Entry, Evidence, Look
from tests.chaos.stage import Stage, stop
from tests.e2e.running import records

REST_SECONDS = 90.0
#: a day that was missed is reported when the next one is announced
REPORTED_HOURS = 15
SALE, LOG = "pricing.sale.v1", "pricing.experiment.assignment-log.v1"


async def rest(stage: Stage) -> None:
    """Let what is under way come to its end: sales folded, the outbox empty, every day until now decided."""
    await stop(stage.others.pop("tills"))
    beginning = stage.pace.now_ms()
    deadline = time.monotonic() + REST_SECONDS
    async with Redis.from_url(stage.redis.url, decode_responses=True) as client:
        while left := await _under_way(stage, client, beginning):
            assert time.monotonic() < deadline, f"not at rest after {REST_SECONDS:.0f} s: {left}"
            await asyncio.sleep(0.2)


async def _under_way(stage: Stage, client: Any, beginning: int) -> str:
    ends = {(r.partition): r.offset + 1 for r in await records(stage.settings, SALE)}
    namespace = stage.settings.namespace
    for partition, end in ends.items():
        position = int(await client.get(f"{{{namespace}:sale:{partition}}}:position") or 0)
        if position < end:
            return f"sales of partition {partition} are folded up to {position} of {end}"
    for shard in range(stage.setting.partitions):
        if length := await client.xlen(f"{{{namespace}:t{shard}}}:outbox"):
            return f"{length} entries in the outbox of shard {shard}"
    if stage.pace.now_ms() < beginning + REPORTED_HOURS * 3_600_000:
        return "what was missed is not due to be reported yet"
    return ""


async def collect(stage: Stage, judged_from: int) -> Evidence:
    """Everything as evidence; call it once the system is at rest. Ends clients and workers."""
    until = stage.pace.now_ms() - REPORTED_HOURS * 3_600_000
    # Nobody is started anew, or missed, from here on.
    stage.struck |= set(stage.workers)
    clients = list(stage.others.values())
    stage.others.clear()
    for child in clients:
        await asyncio.to_thread(child.kill)
    await asyncio.gather(*(stop(child) for child in stage.workers.values()))
    topics = {
        "log": LOG,
        "assignments": "pricing.experiment.assignment.v1",
        "ticks": "pricing.experiment.tick.v1",
        "sales": SALE,
        "panel": "pricing.experiment.panel.v1",
        "dead_letters": "pricing.experiment.dead-letter.v1",
    }
    read = {name: [entry(r) for r in await records(stage.settings, topic)] for name, topic in topics.items()}
    told = {}
    for said in sorted(read["log"], key=lambda e: e.real):
        if said.kind == "flipside.blackout-set.v1" and said.body is not None:
            told.setdefault(said.body["blackout"], said.real)
    cells, sealed, states = await held(stage)
    return Evidence(
        pace=stage.pace,
        partitions=stage.setting.partitions,
        experiment=stage.experiment,
        zones=stage.zones,
        units=stage.units,
        judged=(judged_from, until),
        looks=[look for fleet in (str(stage.setting.clients), "cold") for look in looks(stage, fleet)],
        windows=[replace(window, told=told.get(window.id, float("inf"))) for window in stage.windows],
        faults=sorted(stage.faults, key=lambda fault: fault.began),
        writes=stage.writes,
        rebuilds=rebuilds(stage),
        cells=cells,
        sealed=sealed,
        states=states,
        **read,
    )


def rebuilds(stage: Stage) -> list[tuple[str, float]]:
    """What workers told of rebuilding in their logs."""
    found = []
    for file in stage.sandbox.folder.glob("w*.log"):
        for line in file.read_text(errors="replace").splitlines():
            if any(f'"event": "{event}"' in line for event in ("rebuilt", "recounted")) and line.endswith("}"):
                said = json.loads(line)
                found.append((f"{said.get('topic', 'shard')}, {said['why']}", float(said["seconds"])))
    return found


def entry(record: ConsumerRecord) -> Entry:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    try:
        body = json.loads(record.value or b"")
    except ValueError:
        body = None
    key = None if record.key is None else record.key.decode(errors="replace")
    kept = {name: value for name, value in headers.items() if name.startswith("ce_origin")}
    return Entry(
        record.partition,
        record.offset,
        record.timestamp / 1000,
        key,
        headers.get("ce_type", ""),
        body if isinstance(body, dict) else None,
        kept,
    )


def looks(stage: Stage, fleet: str) -> list[Look]:
    found = []
    for line in stage.file(f"looks-{fleet}").read_text().splitlines():
        try:
            said = json.loads(line)
        except ValueError:  # the last line of a client that was ended while it wrote
            continue
        found.append(Look(said["client"], said["life"], said["t"], said["real"], tuple(said["arms"]), said["why"]))
    return found


Cells = dict[tuple[str, int], tuple[int, int]]


async def held(stage: Stage) -> tuple[Cells, dict[str, int], dict[str, tuple[str, int, int]]]:
    """Counts of unit-days over all input partitions, the last day of each market that Redis keeps no counts of, and the
    last decision of each unit."""
    cells: Cells = {}
    sealed: dict[str, int] = {}
    states: dict[str, tuple[str, int, int]] = {}
    namespace = stage.settings.namespace
    async with Redis.from_url(stage.redis.url, decode_responses=True) as client:
        async for key in client.scan_iter(match=f"{{{namespace}:sale:*}}:cells:*"):
            day = int(key.rpartition(":")[2])
            for unit, text in (await client.hgetall(key)).items():
                quantity, _, _, _, events, *_ = (int(part) for part in text.split())
                before = cells.get((unit, day), (0, 0))
                cells[unit, day] = (before[0] + quantity, before[1] + events)
        for partition in range(stage.setting.partitions):
            for market, day in (await client.hgetall(f"{{{namespace}:sale:{partition}}}:sealed")).items():
                sealed[market] = max(int(day), sealed.get(market, 0))
        for shard in range(stage.setting.partitions):
            for unit, text in (await client.hgetall(f"{{{namespace}:t{shard}}}:units")).items():
                state = json.loads(text)
                states[unit] = (state[2], state[8], state[7])
    return cells, sealed, states
