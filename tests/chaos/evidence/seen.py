"""What can be seen of a stage while it runs: what scripts, and the end of a run, wait for."""

import json
from collections.abc import Mapping
from datetime import date

from redis.asyncio import Redis

from tests.chaos.evidence.evidence import local_day
from tests.chaos.rules.reading import shard_of
from tests.chaos.shop.stage import Stage
from tests.e2e.running import eventually


def redis_of(stage: Stage) -> Redis:
    return Redis.from_url(stage.redis.url, decode_responses=True)


async def texts(client: Redis, key: str) -> dict[str, str]:
    """A hash of Redis, which is decoded."""
    return {str(name): str(text) for name, text in (await client.hgetall(key)).items()}


async def positions(stage: Stage, client: Redis) -> list[int]:
    """Up to where each partition of sales is folded."""
    keys = [f"{{{stage.settings.namespace}:sale:{n}}}:position" for n in range(stage.setting.partitions)]
    return [int(text or 0) for text in await client.mget(keys)]


async def decided_through(stage: Stage, client: Redis) -> dict[str, int]:
    """Market -> ordinal of the last day that was decided and settled; 0 where none was."""
    found = {}
    for market in stage.zones:
        shard = shard_of(f"{market}/", stage.setting.partitions)
        plan = await client.hget(f"{{{stage.settings.namespace}:t{shard}}}:plans", f"prices.1/{market}")
        text = str(plan or "-")
        found[market] = 0 if text.startswith("-") else int(text.split()[0])
    return found


def undecided(stage: Stage, through: Mapping[str, int], t: int, further: int) -> str:
    """The first market that has not decided so many days beyond the one that it had at an instant; empty if none."""
    for market, zone in stage.zones.items():
        wanted = local_day(t, zone).toordinal() + further
        if through[market] < wanted:
            return f"{market} has not decided {date.fromordinal(wanted)}"
    return ""


async def every_input_moves_on(stage: Stage) -> None:
    """Wait until each partition of sales is folded further than it is now."""
    async with redis_of(stage) as client:
        before = await positions(stage, client)

        async def further() -> bool:
            return all(now > then for now, then in zip(await positions(stage, client), before, strict=True))

        await eventually(f"every partition of sales to be folded beyond {before}", further)


async def every_market_decides(stage: Stage, further: int) -> None:
    """Wait until each market has decided so many days beyond the one that it has now."""
    t = stage.pace.now_ms()
    async with redis_of(stage) as client:

        async def decided() -> bool:
            return not undecided(stage, await decided_through(stage, client), t, further)

        await eventually(f"every market to decide {further} days more", decided)


async def treated(stage: Stage) -> None:
    """Wait until a client shows something else than control."""
    file = stage.file(f"looks-{stage.setting.clients}")
    since = file.stat().st_size if file.exists() else 0

    async def shown() -> bool:
        if not file.exists():
            return False
        with file.open() as looks:
            looks.seek(since)
            said = [json.loads(line)["arms"] for line in looks if line.endswith("\n")]
        return any(arm not in (None, "control") for arms in said for arm in arms)

    await eventually("a client to show another arm than control", shown)
