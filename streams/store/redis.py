"""The store on Redis: each decision and each fold is one Lua call. The only file that knows the Redis client."""

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from controller.decide import Flip
from controller.errors import CannotReach
from controller.events import Blackout
from controller.schedule import MarketPlan
from controller.wire import from_milliseconds, milliseconds
from streams.patience import patiently
from streams.store import (
    Cell,
    DirtyCell,
    Fenced,
    OutboxEntry,
    Outcome,
    Registration,
    RivalPrice,
    StoreRefuses,
    encoding,
)

SCRIPTS = Path(__file__).parent / "scripts"
#: how long one answer may take
ANSWER_SECONDS = 5.0
#: decisions sent to the server at once: hides its distance, and stays far below the time that one answer may take
CALLS_PER_TRIP = 32
#: how often a lost answer is asked for again; and after so many times ANSWER_SECONDS it is CannotReach in any case,
#: because connecting anew has retries and timeouts of its own
RETRIES = 3
PATIENCE = 4

#: the first word of a refusal -> what to do about it
REMEDIES = {
    "OOM": "its memory is full: raise maxmemory, and keep maxmemory-policy noeviction; until then nothing is lost",
    "READONLY": "it is a replica: point FLIPSIDE_REDIS at the primary",
    "MISCONF": "it cannot write its files: free disk space there, see its log",
    "NOREPLICAS": "too few replicas answer it: bring them back, or lower min-replicas-to-write",
    "MASTERDOWN": "it is a replica that has lost its primary: point FLIPSIDE_REDIS at the primary",
    "CLUSTERDOWN": "its cluster is incomplete: see CLUSTER INFO there",
    "NOPERM": "the user of FLIPSIDE_REDIS may not do this: grant it the keys, and scripts",
    "NOAUTH": "user or password are missing or wrong: mend FLIPSIDE_REDIS",
}
#: errors whose first word redis-py takes away
CODES: dict[type[Exception], str] = {
    AuthenticationError: "NOAUTH",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    NoPermissionError: "NOPERM",
}


class RedisStore:
    """See `streams.store.Store`. Keys: ``{ns:t3}:units`` for shard 3, ``{ns:sale:3}:position`` for an input."""

    def __init__(self, url: str, namespace: str, shards: int, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Raises CannotReach for an address that cannot be read; connects with the first call."""
        try:
            self._redis: Redis = Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=answer_seconds,
                socket_connect_timeout=answer_seconds,
                health_check_interval=15,
                # Every call may be repeated, so a lost reply is asked for again.
                retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES),
            )
        except ValueError:
            # The cause would quote what it could not read: perhaps a password.
            raise CannotReach(
                "FLIPSIDE_REDIS is no address of a Redis; write redis://[user:password@]host:port/0, "
                "with the password percent-encoded"
            ) from None
        self._patience = PATIENCE * answer_seconds
        self._namespace = namespace
        self._shards = shards
        where = self._redis.connection_pool.connection_kwargs
        self._address = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
        self._scripts: dict[str, AsyncScript] = {
            path.stem: self._redis.register_script(path.read_text()) for path in sorted(SCRIPTS.glob("*.lua"))
        }

    async def reach(self, timeout_seconds: float) -> None:
        """Return once the server answers and keeps what it is told.

        Raises CannotReach with the address where it does not in time, StoreRefuses where it may throw decisions away.
        """
        way_out = "check FLIPSIDE_REDIS (--redis), and that the server runs and listens there"

        async def answered() -> StoreRefuses | None:
            try:
                await self.ping()
            except StoreRefuses as error:
                return error
            return None

        refused = await patiently(answered, "Redis", self._address, timeout_seconds, way_out, (CannotReach,))
        if refused is not None:
            raise refused

    async def ping(self) -> None:
        """Raises CannotReach with the address, StoreRefuses where the server may throw decisions away."""
        memory = await self._ask(self._redis.info("memory"))
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            raise StoreRefuses(
                f"Redis at {self._address} evicts what it was told to keep (maxmemory-policy {policy}); "
                "set maxmemory-policy noeviction"
            )

    def _shard(self, shard: int, name: str) -> str:
        return f"{{{self._namespace}:t{shard}}}:{name}"

    def _input(self, topic: str, partition: int, name: str) -> str:
        return f"{{{self._namespace}:{topic}:{partition}}}:{name}"

    async def _ask(self, reply: Awaitable[Any] | Any) -> Any:
        """A reply, or an error that says whose turn it is. (redis-py types replies as present or awaited.)"""
        try:
            async with asyncio.timeout(self._patience):
                return await reply
        except TimeoutError as error:
            raise self._silent(f"nothing within {self._patience:g} s") from error
        except RedisError as error:
            # Inside a script, Redis before 7 puts words of its own before the code.
            code = CODES.get(type(error)) or next((c for c in REMEDIES if f"-{c} " in f"-{error} "), None)
            if code is not None:
                raise StoreRefuses(f"Redis at {self._address} refuses: {REMEDIES[code]} ({error})") from error
            if isinstance(error, RedisConnectionError | RedisTimeoutError):
                raise self._silent(error) from error
            raise

    def _silent(self, what: object) -> CannotReach:
        return CannotReach(
            f"Redis at {self._address} does not answer ({what}); is it running, and is FLIPSIDE_REDIS right?"
        )

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return (await self._run_all(script, keys, [args]))[0]

    async def _run_all(self, script: str, keys: Sequence[str], calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script once for each list of arguments, in order, in one trip to the server; each call is atomic."""
        try:
            if len(calls) == 1:
                return [await self._ask(self._scripts[script](keys=list(keys), args=list(calls[0])))]
            pipe = self._redis.pipeline(transaction=False)
            for args in calls:
                await self._scripts[script](keys=list(keys), args=list(args), client=pipe)
            return list(await self._ask(pipe.execute()))
        except ResponseError as error:
            # In a pipeline, the client puts words of its own around the server's.
            fence = re.search(r"FENCED (-?\d+)", str(error))
            if fence is None:
                raise
            held, mine = int(fence[1]), calls[0][0]
            owner = f"belongs to the owner with epoch {held}" if held >= 0 else "belongs to nobody (claim it first)"
            raise Fenced(f"{keys[0]} {owner}, not to the one with {mine}", newer=held > int(mine)) from error

    # --- shards -----------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, epoch: int) -> int:
        return int(await self._run("claim", [self._shard(shard, "epoch"), self._shard(shard, "tick")], [epoch]))

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        stored = await self._ask(self._redis.hgetall(self._shard(shard, "plans")))
        return {key: _plan(text) for key, text in stored.items()}

    async def flip(self, shard: int, epoch: int, flip: Flip) -> Outcome:
        return (await self.flip_all(shard, epoch, [flip]))[0]

    async def flip_all(self, shard: int, epoch: int, flips: Sequence[Flip]) -> list[Outcome]:
        keys = [self._shard(shard, k) for k in ("epoch", "units", "blackouts", "outbox", "sequence", "hashes")]
        calls = [
            (number, [epoch, header, json.dumps(encoding.rows(batch))])
            for number, flip in enumerate(flips)
            for header in (json.dumps(encoding.flip_header(flip)),)
            for batch in encoding.batches(flip.proposals)
        ]
        outcomes = [Outcome() for _ in flips]
        for start in range(0, len(calls), CALLS_PER_TRIP):
            trip = calls[start : start + CALLS_PER_TRIP]
            for (number, _), reply in zip(trip, await self._run_all("flip", keys, [a for _, a in trip]), strict=True):
                changed, blocked, kept, repeated, *withheld = json.loads(reply)
                said = Outcome(changed, blocked, kept, repeated, tuple(withheld[0]) if withheld else ())
                outcomes[number] += said
        return outcomes

    async def settle(
        self, shard: int, epoch: int, plans: Mapping[str, MarketPlan], records: Sequence[tuple[str, str]], tick: int
    ) -> None:
        keys = [self._shard(shard, name) for name in ("epoch", "tick", "plans", "outbox")]
        pairs = [part for key, plan in plans.items() for part in (key, _plan_text(plan))]
        await self._run("settle", keys, [epoch, tick, json.dumps(list(records)) if records else "", *pairs])

    async def outbox(self, shard: int, limit: int) -> list[OutboxEntry]:
        entries = await self._ask(self._redis.xrange(self._shard(shard, "outbox"), count=limit))
        return [_outbox_entry(entry_id, fields) for entry_id, fields in entries]

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        if ids:
            await self._ask(self._redis.xdel(self._shard(shard, "outbox"), *ids))

    # --- definitions and blackouts ------------------------------------------------------------------------------------

    async def put_registration(self, registration: Registration) -> None:
        name, body = registration.experiment.name, encoding.registration_json(registration)
        for shard in range(self._shards):
            keys = [self._shard(shard, k) for k in ("registrations", "hashes", "registrations-version")]
            await self._run("register", keys, [name, body, registration.design_hash])

    async def registrations(self, shard: int) -> tuple[int, dict[str, Registration]]:
        version = await self.registrations_version(shard)
        stored = await self._ask(self._redis.hgetall(self._shard(shard, "registrations")))
        return version, {name: encoding.registration(body) for name, body in stored.items()}

    async def registrations_version(self, shard: int) -> int:
        return int(await self._ask(self._redis.get(self._shard(shard, "registrations-version"))) or 0)

    async def put_blackout(self, blackout: Blackout) -> None:
        for shard in range(self._shards):
            keys = [self._shard(shard, k) for k in ("blackouts", "blackout-bodies")]
            args: list[str | int] = [
                blackout.id,
                encoding.window(blackout),
                encoding.ceil_milliseconds(blackout.ends_at),
                blackout.model_dump_json(),
            ]
            await self._run("blackout", keys, args)

    async def remove_blackout(self, blackout_id: str) -> None:
        for shard in range(self._shards):
            keys = [self._shard(shard, k) for k in ("blackouts", "blackout-bodies")]
            await self._run("blackout", keys, [blackout_id])

    async def blackouts(self, shard: int) -> dict[str, Blackout]:
        key = self._shard(shard, "blackout-bodies")
        bodies = await self._ask(self._redis.hgetall(key))
        return {name: Blackout.model_validate_json(body.partition("\n")[2]) for name, body in bodies.items()}

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def position(self, topic: str, partition: int) -> int:
        return int(await self._ask(self._redis.get(self._input(topic, partition, "position"))) or 0)

    async def fold_sales(self, partition: int, start: int, end: int, cells: Sequence[Cell]) -> bool:
        keys = [self._input("sale", partition, name) for name in ("position", "cells:", "dirty:")]
        return bool(end == await self._run("fold_sales", keys, [start, end, json.dumps(encoding.cell_rows(cells))]))

    async def fold_rival_prices(self, partition: int, start: int, end: int, prices: Sequence[RivalPrice]) -> bool:
        keys = [self._input("competitor-price", partition, name) for name in ("position", "latest:")]
        rows = [[p.unit, p.competitor, p.observed_ms, p.price_minor] for p in prices]
        return bool(end == await self._run("fold_rival_prices", keys, [start, end, json.dumps(rows)]))

    async def rival_prices(self, partition: int, unit: str) -> dict[str, RivalPrice]:
        stored = await self._ask(self._redis.hgetall(self._input("competitor-price", partition, f"latest:{unit}")))
        return {rival: _rival_price(unit, rival, text) for rival, text in stored.items()}

    async def mark_caught_up(self, partition: int, at: datetime) -> None:
        await self._ask(self._redis.set(self._input("sale", partition, "caught-up"), milliseconds(at)))

    async def caught_up(self) -> list[tuple[datetime | None, int]]:
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(self._shards):
            pipe.mget(self._input("sale", partition, "caught-up"), self._input("sale", partition, "position"))
        return [
            (None if at is None else from_milliseconds(int(at)), int(position or 0))
            for at, position in await self._ask(pipe.execute())
        ]

    async def dirty(self, markets: Mapping[str, int]) -> list[DirtyCell]:
        wanted = [(market, last, p) for market, last in sorted(markets.items()) for p in range(self._shards)]
        pipe = self._redis.pipeline(transaction=False)
        for market, last, partition in wanted:
            pipe.zrangebyscore(self._input("sale", partition, f"dirty:{market}"), "-inf", last)
        by_day: dict[tuple[str, str, int], list[str]] = {}
        for (market, _, partition), members in zip(wanted, await self._ask(pipe.execute()), strict=True):
            for member in members:
                day, _, unit = member.partition("|")
                by_day.setdefault((market, day, partition), []).append(unit)
        pipe = self._redis.pipeline(transaction=False)
        for (market, day, partition), units in by_day.items():
            pipe.hmget(self._input("sale", partition, f"cells:{market}:{day}"), units)
        found = []
        for ((market, day, partition), units), texts in zip(
            by_day.items(), await self._ask(pipe.execute()), strict=True
        ):
            found += [
                encoding.dirty_cell(partition, market, int(day), u, t) for u, t in zip(units, texts, strict=True) if t
            ]
        return sorted(found, key=lambda cell: (cell.market, cell.day, cell.unit, cell.partition))

    async def cleaned(self, cells: Sequence[DirtyCell]) -> None:
        by_partition: dict[int, list[list[str | int]]] = {}
        for cell in cells:
            by_partition.setdefault(cell.partition, []).append([cell.market, cell.day, cell.unit, cell.events])
        for partition, rows in by_partition.items():
            keys = [self._input("sale", partition, name) for name in ("cells:", "dirty:")]
            for start in range(0, len(rows), 500):
                await self._run("cleaned", keys, [json.dumps(rows[start : start + 500])])

    async def day_totals(self, market: str, day: int) -> tuple[int, int]:
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(self._shards):
            pipe.hvals(self._input("sale", partition, f"cells:{market}:{day}"))
        texts = [text for found in await self._ask(pipe.execute()) for text in found]
        return len(texts), sum(int(text.split()[4]) for text in texts)

    # --- closings -----------------------------------------------------------------------------------------------------

    async def closed_through(self, shard: int) -> dict[str, tuple[int, int]]:
        stored = await self._ask(self._redis.hgetall(self._shard(shard, "closed")))
        return {market: (int(text.split()[0]), int(text.split()[1])) for market, text in stored.items()}

    async def set_closed(self, shard: int, epoch: int, markets: Mapping[str, tuple[int, int]]) -> None:
        pairs = [part for market, (day, times) in markets.items() for part in (market, f"{day} {times}")]
        keys = [self._shard(shard, "epoch"), self._shard(shard, "closed")]
        await self._run("owned_hset", keys, [epoch, *pairs])

    async def close(self) -> None:
        await self._redis.aclose()


def _plan_text(plan: MarketPlan) -> str:
    day = "-" if plan.decided_through is None else str(plan.decided_through.toordinal())
    return f"{day} {int(plan.released)}"


def _plan(text: str) -> MarketPlan:
    day, released = text.split()
    return MarketPlan(None if day == "-" else datetime.fromordinal(int(day)).date(), released == "1")


def _rival_price(unit: str, rival: str, text: str) -> RivalPrice:
    observed, price = text.split()
    return RivalPrice(unit, rival, int(observed), None if price == "-" else int(price))


def _outbox_entry(entry_id: str, fields: Mapping[str, str]) -> OutboxEntry:
    return OutboxEntry(
        id=entry_id,
        epoch=int(fields["e"]),
        header=json.loads(fields.get("h", "{}")),
        granted=tuple(encoding.granted(row) for row in json.loads(fields.get("g", "[]"))),
        records=tuple((kind, body) for kind, body in json.loads(fields.get("r", "[]"))),
    )
