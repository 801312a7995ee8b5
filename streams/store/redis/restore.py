"""What `streams.store.restore_port` asks for, on Redis."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from controller.messages.control import Kill
from streams.store import DIGEST_BYTES, Registration, Store, encoding
from streams.store.redis.connection import Link
from streams.store.redis.server_identity import Known
from streams.store.restore_port import CountedDay, Damaged, HeldUnit, LogPositions, ShardRest, Still
from streams.store.trigger_port import CLUSTER

#: units, or unit-days, in one call: keeps a script to a few milliseconds
ROWS_PER_CALL = 500
UNITS_PER_TURN = 300
#: what a key must be, by its name or by what it begins with
TYPES = {
    "epoch": "string", "tick": "string", "sequence": "string", "units": "hash", "plans": "hash", "outbox": "stream",
    "registrations": "hash", "hashes": "hash", "registrations-version": "string", "kills": "hash", "closed": "hash",
    "blackouts": "zset", "blackout-bodies": "hash", "prices": "hash", "log": "hash", "position": "string",
    "caught-up": "string", "firsts": "hash", "sealed": "hash", "cells": "hash", "dirty": "zset", "seen": "set",
    "latest": "hash", "rebuilding": "string", "count": "string", "enrolments": "hash", "trigger": "string",
    "watch": "hash", "kill-places": "hash", "blackout-places": "hash", "listing": "hash", "history": "hash",
    "unsold": "hash",
}  # fmt: skip
NUMBERS = frozenset({"epoch", "tick", "sequence", "registrations-version", "position", "caught-up", "trigger"})


class RedisRestore:
    """See `streams.store.restore_port.RestorableStore`."""

    def __init__(self, store: Store, link: Link, known: Known) -> None:
        """``store``: what asks whether something can be read. ``known``: what that was told of its shards."""
        self._store, self._known, self._suspect = store, known, link.suspect
        self._redis, self._ask, self._run, self._sound = link._redis, link._ask, link._run, link._sound
        self._shard, self._input = link._shard, link._input

    # --- shards -------------------------------------------------------------------------------------------------------

    async def log_positions(self, shard: int) -> dict[str, int]:
        key = self._shard(shard, "log")
        async with self._sound(key):
            stored = await self._ask(self._redis.hgetall(key))
            return {place: int(offset) for place, offset in stored.items()}

    async def stand(self, shard: int, epoch: int, positions: LogPositions | None = None) -> None:
        keys = [self._shard(shard, name) for name in ("epoch", "sequence", "tick", "log")]
        pairs = [part for pair in (positions or {}).items() for part in pair]
        await self._run("confirm_shard", keys, [epoch, *self._known.of(shard), *pairs])

    async def still(self, shard: int, epoch: int) -> Still | None:
        keys = [self._shard(shard, name) for name in ("epoch", "sequence", "tick", "outbox")]
        found = await self._run("shard_is_quiescent", keys, [epoch])
        return None if found is None else Still(int(found[0]), int(found[1]), found[2])

    async def held(self, shard: int) -> dict[str, HeldUnit]:
        key = self._shard(shard, "units")
        async with self._sound(key):
            stored = await self._ask(self._redis.hgetall(key))
            return {unit: encoding.held_unit(unit, text) for unit, text in stored.items()}

    async def held_by_turns(self, shard: int) -> AsyncIterator[list[HeldUnit]]:
        key, cursor = self._shard(shard, "units"), 0
        while True:
            async with self._sound(key):
                cursor, stored = await self._ask(self._redis.hscan(key, cursor, count=UNITS_PER_TURN))
                some = [encoding.held_unit(unit, text) for unit, text in stored.items()]
            yield some
            if not cursor:
                return

    async def restore_units(self, shard: int, epoch: int, units: Sequence[HeldUnit]) -> int:
        keys = [self._shard(shard, name) for name in ("epoch", "units")]
        written = 0
        for start in range(0, len(units), ROWS_PER_CALL):
            some = units[start : start + ROWS_PER_CALL]
            rows = [part for u in some for part in (u.unit, encoding.held_text(u), int(u.changed_hands))]
            written += int(await self._run("restore_units", keys, [epoch, *rows]))
        return written

    async def restore_rest(self, shard: int, epoch: int, rest: ShardRest) -> None:
        keys = [self._shard(shard, name) for name in ("epoch", "plans", "closed", "sequence", "tick")]
        plans = {
            key: [-1 if p.decided_through is None else p.decided_through.toordinal(), int(p.released)]
            for key, p in rest.plans.items()
        }
        args = [epoch, json.dumps(plans), json.dumps(dict(rest.closed)), rest.sequence, rest.tick]
        await self._run("restore_positions", keys, args)

    async def restore_registrations(self, shard: int, registrations: Sequence[Registration]) -> None:
        keys = [self._shard(shard, name) for name in ("registrations", "hashes", "registrations-version")]
        for found in registrations:
            body = encoding.registration_json(found)
            await self._run("register", keys, [found.experiment.name, body, found.design_hash, 1])

    async def restore_kills(self, shard: int, kills: Sequence[Kill]) -> None:
        keys = [self._shard(shard, name) for name in ("kills", "registrations-version")]
        for kill in kills:
            await self._run("restore_kill", keys, [kill.id, kill.model_dump_json()])

    async def shard_damage(self, shard: int) -> Damaged | None:
        try:
            await self._look_at(self._shard(shard, ""))
            store = self._store
            reads = [store.plans, store.registrations, store.kills, store.blackouts, store.closed_through]
            more = [self.log_positions, self._enrolments]
            for read in [*reads, *more, *([self.held] if ("t", shard) in self._suspect else [])]:
                async with self._sound(self._shard(shard, read.__name__.lstrip("_"))):
                    await read(shard)
        except Damaged as damage:
            return damage
        self._suspect.discard(("t", shard))
        return None

    async def _enrolments(self, shard: int) -> None:
        """Raises ValueError for what is known of a cluster and cannot be read."""
        for text in (await self._store.triggers.enrolments(shard))[1].values():
            CLUSTER.validate_json(text)

    async def _look_at(self, prefix: str) -> None:
        """Raises Damaged for a key that is not what it must be."""
        async for key in self._keys(prefix):
            name = key.removeprefix(prefix).partition(":")[0]
            async with self._sound(key):
                if (kind := await self._ask(self._redis.type(key))) != TYPES.get(name, kind):
                    raise ValueError(f"it is a {kind}, and must be a {TYPES[name]}")
                if name in NUMBERS:
                    int(await self._ask(self._redis.get(key)))

    async def forget_shard(self, shard: int) -> None:
        keep = self._shard(shard, "epoch")
        await self._drop([key async for key in self._keys(self._shard(shard, "")) if key != keep])
        self._known.unlearn(shard)

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def with_position(self, topic: str, partitions: Sequence[int]) -> frozenset[int]:
        pipe = self._redis.pipeline(transaction=False)
        for number in partitions:
            pipe.exists(self._input(topic, number, "position"))
        found = await self._ask(pipe.execute())
        return frozenset(number for number, there in zip(partitions, found, strict=True) if there)

    async def input_damage(self, topic: str, partition: int) -> Damaged | None:
        if (topic, partition) not in self._suspect:
            return None
        try:
            await self._look_at(self._input(topic, partition, ""))
            if topic == "sale":
                await self.days(partition)
                async with self._sound(self._input(topic, partition, "sealed")):
                    await self._store.sealed(partition)
        except Damaged as damage:
            return damage
        self._suspect.discard((topic, partition))
        return None

    async def begin_input(self, topic: str, partition: int, token: str) -> None:
        # The position first: without it nobody folds, and nobody takes what is left for whole.
        await self.forget_input(topic, partition)
        await self._ask(self._redis.set(self._input(topic, partition, "rebuilding"), token))
        keep = self._input(topic, partition, "rebuilding")
        await self._drop([key async for key in self._keys(self._input(topic, partition, "")) if key != keep])

    async def put_ids(self, partition: int, token: str, ids: Sequence[tuple[int, bytes]]) -> frozenset[int]:
        if not ids:
            return frozenset()
        order, days, row = encoding.ids_by_day(ids)
        keys = [self._input("sale", partition, name) for name in ("rebuilding", "seen:")]
        known = await self._run("restore_ids", keys, [token, json.dumps(days), row, DIGEST_BYTES])
        return frozenset(order[place] for place in known)

    async def put_days(self, partition: int, token: str, days: Sequence[CountedDay]) -> None:
        keys = [self._input("sale", partition, name) for name in ("rebuilding", "cells:", "dirty:")]
        rest = iter(days)
        while some := list(islice(rest, ROWS_PER_CALL)):
            rows = [[d.market, d.day, d.unit, encoding.day_text(d), d.events != d.published] for d in some]
            await self._run("restore_days", keys, [token, json.dumps(rows)])

    async def finish_input(
        self,
        topic: str,
        partition: int,
        token: str,
        position: int,
        firsts: Mapping[tuple[str, int], int] | None = None,
        sealed: Mapping[str, int] | None = None,
    ) -> None:
        keys = [self._input(topic, partition, name) for name in ("rebuilding", "position", "firsts", "sealed", "count")]
        places = {f"{market}:{day}": offset for (market, day), offset in (firsts or {}).items()}
        await self._run("restore_end", keys, [token, position, json.dumps(places), json.dumps(dict(sealed or {}))])

    async def forget_input(self, topic: str, partition: int) -> None:
        names = ("position", "caught-up", "count")
        await self._ask(self._redis.delete(*(self._input(topic, partition, name) for name in names)))

    async def days(self, partition: int) -> list[CountedDay]:
        prefix = self._input("sale", partition, "cells:")
        found = []
        async for key in self._keys(prefix):
            market, _, day = key.removeprefix(prefix).rpartition(":")
            async with self._sound(key):
                stored = await self._ask(self._redis.hgetall(key))
                found += [encoding.counted_day(market, int(day), unit, text) for unit, text in stored.items()]
        return sorted(found, key=lambda d: (d.market, d.day, d.unit))

    async def _keys(self, prefix: str) -> Any:
        """Every key that begins so."""
        pattern = "".join(f"[{c}]" if c in "*?[]^\\" else c for c in prefix)
        cursor = 0
        while True:
            cursor, keys = await self._ask(self._redis.scan(cursor, match=f"{pattern}*", count=1000))
            for key in keys:
                yield key
            if not cursor:
                return

    async def _drop(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), ROWS_PER_CALL):
            await self._ask(self._redis.unlink(*keys[start : start + ROWS_PER_CALL]))


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store.restore_port import RestorableStore

    _PORT: type[RestorableStore] = RedisRestore
