"""From a stage to evidence: wait until the system has come to rest, then read everything that can be read."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from streams.kafka.connection import connection
from tests.chaos.evidence.evidence import Entry, Evidence, Look
from tests.chaos.evidence.seen import decided_through, positions, redis_of, texts, undecided
from tests.chaos.shop.setting import ORIGIN
from tests.chaos.shop.stage import LOG, Stage, stop, tell
from tests.e2e.running import records

#: a horizon, not a duration: the last faults may have left much to catch up with
REST_SECONDS = 240.0
SALE = "pricing.sale.v1"


@dataclass(frozen=True, slots=True)
class Rest:
    """How a run came to rest."""

    #: everything that began before this instant of the shop must be decided, or reported, by now
    judged_until: int
    #: what was still under way when patience was at its end; empty where all is done
    unrest: str


async def rest(stage: Stage) -> Rest:
    """Wait until what is under way has come to its end: every sale is folded, every market has decided the day after
    this one (only then is a day that was missed reported), and the outboxes are empty."""
    until = stage.pace.now_ms()
    await stop(stage.others.pop("tills"))
    ends = await _ends(stage, SALE)
    deadline = time.monotonic() + REST_SECONDS
    async with redis_of(stage) as client:
        while left := await _under_way(stage, client, ends, until):
            if time.monotonic() > deadline:
                tell(f"not at rest after {REST_SECONDS:.0f} s: {left}")
                return Rest(until, left)
            await asyncio.sleep(0.2)
    return Rest(until, "")


async def _ends(stage: Stage, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends."""
    partitions = [TopicPartition(stage.settings.prefixed(topic), n) for n in range(stage.setting.partitions)]
    consumer = AIOKafkaConsumer(**connection(stage.settings))
    await consumer.start()
    try:
        return {place.partition: end for place, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()


async def _under_way(stage: Stage, client: Redis, sales: Mapping[int, int], until: int) -> str:
    """What is still to come, in the order in which it comes: what is decided is in the outbox before it is settled."""
    namespace = stage.settings.namespace
    for partition, position in enumerate(await positions(stage, client)):
        if position < (end := sales[partition]):
            return f"sales of partition {partition} are folded up to {position} of {end}"
    if left := await _unpublished(stage, client):
        return left
    if left := undecided(stage, await decided_through(stage, client), until, 1):
        return left
    for shard in range(stage.setting.partitions):
        if length := await client.xlen(f"{{{namespace}:t{shard}}}:outbox"):
            return f"{length} entries in the outbox of shard {shard}"
    return ""


async def _unpublished(stage: Stage, client: Redis) -> str:
    """Unit-days of closed days whose last total the panel does not have yet."""
    namespace, partitions = stage.settings.namespace, range(stage.setting.partitions)
    for shard in partitions:
        for market, text in (await texts(client, f"{{{namespace}:t{shard}}}:closed")).items():
            for partition in partitions:
                changed = f"{{{namespace}:sale:{partition}}}:dirty:{market}"
                if count := await client.zcount(changed, "-inf", int(text.split()[0])):
                    return f"{count} unit-days of {market} are to be published again"
    return ""


async def collect(stage: Stage, resting: Rest) -> Evidence:
    """Everything as evidence; call it once the system is at rest. Ends clients and workers."""
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
    told: dict[str, float] = {}
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
        judged=(round(ORIGIN * 1000), resting.judged_until),
        unrest=resting.unrest,
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
    kept = {name: value for name, value in headers.items() if name.startswith(("ce_origin", "ce_announceby"))}
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
    async with redis_of(stage) as client:
        async for key in client.scan_iter(match=f"{{{namespace}:sale:*}}:cells:*"):
            day = int(key.rpartition(":")[2])
            for unit, text in (await texts(client, key)).items():
                quantity, _, _, _, events, *_ = (int(part) for part in text.split())
                before = cells.get((unit, day), (0, 0))
                cells[unit, day] = (before[0] + quantity, before[1] + events)
        for partition in range(stage.setting.partitions):
            for market, text in (await texts(client, f"{{{namespace}:sale:{partition}}}:sealed")).items():
                sealed[market] = max(int(text), sealed.get(market, 0))
        for shard in range(stage.setting.partitions):
            for unit, text in (await texts(client, f"{{{namespace}:t{shard}}}:units")).items():
                state = json.loads(text)
                states[unit] = (state[2], state[8], state[7])
    return cells, sealed, states
