"""The store on Redis: each decision and each fold is one Lua call."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from controller.decisions.decide import Flip
from controller.definition.field_types import MOST_A_DAY, from_milliseconds, milliseconds
from controller.messages.control import Kill
from controller.messages.inputs import Blackout
from controller.schedule.due import MarketPlan
from streams.store import (
    DIGEST_BYTES,
    NOTE_KINDS,
    NOTHING,
    CaughtUp,
    Cell,
    CountedBefore,
    DayFull,
    DirtyCell,
    LogRecord,
    NoteChanges,
    NoteKind,
    OutboxEntry,
    Outcome,
    PastPrices,
    Registration,
    TopicPlace,
    encoding,
)
from streams.store.redis.connection import ANSWER_SECONDS, Link
from streams.store.redis.restore import RedisRestore
from streams.store.redis.server_identity import Known
from streams.store.redis.triggers import RedisTriggers
from streams.store.restore_port import CountedDay

#: decisions sent to the server at once: hides its distance, and stays far below the time that one answer may take
CALLS_PER_TRIP = 32
UNITS_PER_READ = 2000
BLACKOUT_KEYS = ("blackouts", "blackout-bodies", "blackout-places")

T = TypeVar("T")


class RedisStore(Link):
    """See `streams.store.Store`."""

    def __init__(self, url: str, namespace: str, shards: int, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        super().__init__(url, namespace, shards, answer_seconds=answer_seconds)
        self.triggers = RedisTriggers(self._redis, self._ask, self._run, self._shard, self._input)
        self._known = Known()
        self._restoring = RedisRestore(self, self, self._known)
        #: shard -> the epoch that it was claimed with
        self._claimed: dict[int, int] = {}

    @property
    def restoring(self) -> RedisRestore:
        """See `streams.store.restore_port`."""
        return self._restoring

    # --- shards -----------------------------------------------------------------------------------------------------

    async def claim(self, shard: int, epoch: int) -> int:
        if self._claimed.get(shard) != epoch:
            self._known.unlearn(shard)
            self._claimed_in.pop(shard, None)
        keys = [self._shard(shard, name) for name in ("epoch", "tick", "sequence")]
        tick, sequence, run = await self._run("claim", keys, [epoch, self._claimed_in.get(shard, "")])
        self._claimed[shard], self._claimed_in[shard] = epoch, run
        # What it holds now it must hold at the first decision: a server may come back from amid its rebuild.
        self._known.learn(shard, tick=int(tick), sequence=int(sequence))
        return int(tick)

    async def _hash(self, shard: int, name: str, read: Callable[[str], T]) -> dict[str, T]:
        """All of a hash, read; Damaged where it is no hash, or cannot be read."""
        key = self._shard(shard, name)
        async with self._sound(key):
            return {field: read(text) for field, text in (await self._ask(self._redis.hgetall(key))).items()}

    async def plans(self, shard: int) -> dict[str, MarketPlan]:
        return await self._hash(shard, "plans", _plan)

    async def flip(self, shard: int, epoch: int, flip: Flip, remember: timedelta = NOTHING) -> Outcome:
        return (await self.flip_all(shard, epoch, [flip], remember))[0]

    async def flip_all(
        self, shard: int, epoch: int, flips: Sequence[Flip], remember: timedelta = NOTHING
    ) -> list[Outcome]:
        names = ("epoch", "units", "blackouts", "outbox", "sequence", "hashes", "prices")
        keys = [self._shard(shard, name) for name in names]
        remember_ms = round(remember.total_seconds() * 1000)
        known, _ = self._known.of(shard)
        calls = [
            (number, [epoch, header, json.dumps(encoding.rows(batch)), remember_ms, known])
            for number, flip in enumerate(flips)
            for header in (json.dumps(encoding.flip_header(flip)),)
            for batch in encoding.batches(flip.proposals)
        ]
        outcomes = [Outcome() for _ in flips]
        for start in range(0, len(calls), CALLS_PER_TRIP):
            trip = calls[start : start + CALLS_PER_TRIP]
            for (number, _), reply in zip(trip, await self._run_all("flip", keys, [a for _, a in trip]), strict=True):
                changed, blocked, kept, repeated, sequence, *withheld = json.loads(reply)
                said = Outcome(changed, blocked, kept, repeated, tuple(withheld[0]) if withheld else ())
                self._known.learn(shard, sequence=sequence)
                outcomes[number] += said
        return outcomes

    async def past_prices(self, shard: int, units: Sequence[str]) -> dict[str, PastPrices]:
        found: dict[str, PastPrices] = {}
        for start in range(0, len(units), UNITS_PER_READ):
            some = list(units[start : start + UNITS_PER_READ])
            pipe = self._redis.pipeline(transaction=False)
            pipe.hmget(self._shard(shard, "prices"), some)
            pipe.hmget(self._shard(shard, "units"), some)
            texts, states = await self._ask(pipe.execute())
            for unit, text, state in zip(some, texts, states, strict=True):
                if text is not None:
                    _, _, _, on_control, _, expires, *_ = json.loads(state)
                    lapses_at = from_milliseconds(expires) if expires and not on_control else None
                    found[unit] = PastPrices(encoding.price_changes(text), lapses_at)
        return found

    async def settle(
        self, shard: int, epoch: int, plans: Mapping[str, MarketPlan], records: Sequence[LogRecord], tick: int
    ) -> None:
        # The sequence: what flips have decided for these plans must still be there.
        keys = [self._shard(shard, name) for name in ("epoch", "tick", "plans", "outbox", "sequence")]
        pairs = [part for key, plan in plans.items() for part in (key, _plan_text(plan))]
        known, _ = self._known.of(shard)
        await self._run(
            "mark_ticks_decided", keys, [epoch, tick, json.dumps(list(records)) if records else "", known, *pairs]
        )
        self._known.learn(shard, tick=tick)

    async def tell(self, shard: int, epoch: int, records: Sequence[LogRecord]) -> None:
        if records:
            keys = [self._shard(shard, name) for name in ("epoch", "outbox")]
            await self._run("append_records", keys, [epoch, json.dumps(list(records))])

    async def outbox(self, shard: int, limit: int) -> list[OutboxEntry]:
        entries = await self._ask(self._redis.xrange(self._shard(shard, "outbox"), count=limit))
        return [encoding.outbox_entry(entry_id, fields) for entry_id, fields in entries]

    async def published(self, shard: int, ids: Sequence[str]) -> None:
        if ids:
            await self._ask(self._redis.xdel(self._shard(shard, "outbox"), *ids))

    async def put_back(self, shard: int, epoch: int, id: str, units: Sequence[str], detail: str) -> None:
        keys = [self._shard(shard, name) for name in ("epoch", "units", "outbox", "sequence")]
        sequence = await self._run("replace_late_by_control", keys, [epoch, id, json.dumps(list(units)), detail])
        self._known.learn(shard, sequence=int(sequence))

    # --- definitions and blackouts ------------------------------------------------------------------------------------

    async def put_registration(self, registration: Registration) -> None:
        name, body = registration.experiment.name, encoding.registration_json(registration)
        for shard in range(self._shards):
            keys = [self._shard(shard, k) for k in ("registrations", "hashes", "registrations-version")]
            await self._run("register", keys, [name, body, registration.design_hash, 0])

    async def registrations(self, shard: int) -> tuple[int, dict[str, Registration]]:
        version = await self.registrations_version(shard)
        return version, await self._hash(shard, "registrations", encoding.registration)

    async def registrations_version(self, shard: int) -> int:
        return int(await self._ask(self._redis.get(self._shard(shard, "registrations-version"))) or 0)

    async def put_kill(self, kill: Kill, place: TopicPlace | None = None) -> bool:
        keys = ("kills", "registrations-version", "kill-places")
        return await self._everywhere("kill", keys, [kill.id, kill.model_dump_json(), *_spelled(place)])

    async def kills(self, shard: int) -> dict[str, Kill]:
        return await self._hash(shard, "kills", Kill.model_validate_json)

    async def put_blackout(self, blackout: Blackout, place: TopicPlace | None = None) -> bool:
        args: list[str | int] = [
            blackout.id,
            *_spelled(place),
            encoding.window(blackout),
            encoding.ceil_milliseconds(blackout.ends_at),
            blackout.model_dump_json(),
        ]
        return await self._everywhere("blackout", BLACKOUT_KEYS, args)

    async def remove_blackout(self, blackout_id: str, place: TopicPlace | None = None) -> bool:
        return await self._everywhere("blackout", BLACKOUT_KEYS, [blackout_id, *_spelled(place)])

    async def _everywhere(self, script: str, names: Sequence[str], args: Sequence[str | int]) -> bool:
        """Run a script in every shard; whether any of them took it."""
        taken = [await self._run(script, [self._shard(k, name) for name in names], args) for k in range(self._shards)]
        return any(int(reply) >= 0 for reply in taken)

    async def blackouts(self, shard: int) -> dict[str, Blackout]:
        return await self._hash(shard, "blackout-bodies", _blackout)

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def position(self, topic: str, partition: int) -> int:
        return int(await self._ask(self._redis.get(self._input(topic, partition, "position"))) or 0)

    async def fold_sales(
        self, partition: int, start: int, end: int, cells: Sequence[Cell], ids: Sequence[tuple[int, bytes]] = ()
    ) -> bool:
        names = ("position", "cells:", "dirty:", "seen:", "firsts", "sealed", "rebuilding")
        order, days, row = encoding.ids_by_day(ids)
        rows = json.dumps(encoding.cell_rows(cells))
        keys = [self._input("sale", partition, name) for name in names]
        arguments = [start, end, rows, json.dumps(days), row, DIGEST_BYTES, MOST_A_DAY]
        reply = await self._run("fold_sales", keys, arguments)
        if isinstance(reply, list) and reply[0] == "full":
            full = [(cells[place], held) for place, *held in json.loads(reply[1])]
            raise DayFull({(c.unit, c.day): (int(q), int(r), int(k)) for c, (q, r, k) in full})
        if isinstance(reply, list):
            raise CountedBefore([order[place] for place in reply])
        return bool(end == reply)

    async def seal(self, partition: int, last: Mapping[str, int]) -> None:
        names = ("sealed", "firsts", "cells:", "dirty:", "seen:")
        await self._run(
            "drop_sealed_days", [self._input("sale", partition, name) for name in names], [json.dumps(dict(last))]
        )

    async def shut(self, last: Mapping[str, int]) -> None:
        for partition in range(self._shards):
            await self._run(
                "refuse_sales_of_days", [self._input("sale", partition, "sealed")], [json.dumps(dict(last))]
            )

    async def sealed(self, partition: int) -> dict[str, int]:
        stored = await self._ask(self._redis.hgetall(self._input("sale", partition, "sealed")))
        return {market: int(day) for market, day in stored.items()}

    async def recount_from(self) -> list[int]:
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(self._shards):
            # The position first: what is folded in between lies behind it.
            pipe.get(self._input("sale", partition, "position"))
            pipe.hvals(self._input("sale", partition, "firsts"))
        found = await self._ask(pipe.execute())
        return [
            min([int(position or 0), *map(int, firsts)])
            for position, firsts in zip(found[::2], found[1::2], strict=True)
        ]

    async def mark_caught_up(self, partition: int, position: int, at: datetime) -> bool:
        keys = [self._input("sale", partition, name) for name in ("position", "caught-up")]
        return bool(await self._run("mark_caught_up", keys, [position, milliseconds(at)]))

    async def caught_up(self) -> list[CaughtUp]:
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(self._shards):
            pipe.mget(*(self._input("sale", partition, name) for name in ("caught-up", "position", "count")))
        return [
            CaughtUp(None if at is None else from_milliseconds(int(at)), int(position or 0), count or "")
            for at, position, count in await self._ask(pipe.execute())
        ]

    async def dirty(self, markets: Mapping[str, int]) -> list[DirtyCell]:
        found: list[DirtyCell] = []
        for partition in range(self._shards):
            async with self._sound(self._input("sale", partition, "dirty")):
                found += await self._dirty(partition, markets)
        return sorted(found, key=lambda cell: (cell.market, cell.day, cell.unit, cell.partition))

    async def _dirty(self, partition: int, markets: Mapping[str, int]) -> list[DirtyCell]:
        pipe = self._redis.pipeline(transaction=False)
        for market, last in markets.items():
            pipe.zrangebyscore(self._input("sale", partition, f"dirty:{market}"), "-inf", last)
        days: dict[str, list[str]] = {}
        for market, members in zip(markets, await self._ask(pipe.execute()), strict=True):
            for member in members:
                day, _, unit = member.partition("|")
                days.setdefault(f"{market}:{day}", []).append(unit)
        if not days:
            return []
        keys = [self._input("sale", partition, name) for name in ("position", "cells:")]
        offset, texts = await self._run("read_unpublished_totals", keys, [json.dumps(list(days.items()))])
        places = [(*place.rsplit(":", 1), unit) for place, units in days.items() for unit in units]
        return [
            encoding.dirty_cell(partition, market, int(day), unit, text, int(offset))
            for (market, day, unit), text in zip(places, texts, strict=True)
            if text
        ]

    async def cleaned(self, cells: Sequence[DirtyCell]) -> None:
        by_partition: dict[int, list[list[str | int]]] = {}
        for cell in cells:
            by_partition.setdefault(cell.partition, []).append(
                [cell.market, cell.day, cell.unit, cell.events, cell.revision, cell.late]
            )
        for partition, rows in by_partition.items():
            keys = [self._input("sale", partition, name) for name in ("cells:", "dirty:")]
            for start in range(0, len(rows), 500):
                await self._run("mark_totals_published", keys, [json.dumps(rows[start : start + 500])])

    async def unit_days(self, market: str, day: int) -> list[CountedDay]:
        found: list[CountedDay] = []
        for partition in range(self._shards):
            key = self._input("sale", partition, f"cells:{market}:{day}")
            async with self._sound(key):
                cells = await self._ask(self._redis.hgetall(key))
                found += [encoding.counted_day(market, day, unit, text) for unit, text in cells.items()]
        return found

    async def time(self) -> datetime:
        seconds, microseconds = await self._ask(self._redis.time())
        return encoding.EPOCH + timedelta(seconds=seconds, microseconds=microseconds)

    # --- closings -----------------------------------------------------------------------------------------------------

    async def closed_through(self, shard: int) -> dict[str, tuple[int, int]]:
        return await self._hash(shard, "closed", _closed)

    async def closed_days(self) -> dict[str, int]:
        pipe = self._redis.pipeline(transaction=False)
        for shard in range(self._shards):
            pipe.hgetall(self._shard(shard, "closed"))
        return {m: int(text.split()[0]) for found in await self._ask(pipe.execute()) for m, text in found.items()}

    async def set_closed(self, shard: int, epoch: int, markets: Mapping[str, tuple[int, int]]) -> None:
        pairs = [part for market, (day, times) in markets.items() for part in (market, f"{day} {times}")]
        keys = [self._shard(shard, "epoch"), self._shard(shard, "closed")]
        await self._run("owned_hset", keys, [epoch, *pairs])

    async def notes(self, shard: int, kind: NoteKind, market: str) -> dict[str, str]:
        return await self._hash(shard, f"{kind}:{market}", str)

    async def note(self, shard: int, epoch: int, market: str, changes: NoteChanges) -> None:
        keys = [self._shard(shard, "epoch"), *(self._shard(shard, f"{kind}:{market}") for kind in NOTE_KINDS)]
        rows = [
            [1 + NOTE_KINDS.index(kind), field, False if text is None else text]
            for kind, fields in changes.items()
            for field, text in fields.items()
        ]
        await self._run("write_shard_fields", keys, [epoch, json.dumps(rows)])


def _plan_text(plan: MarketPlan) -> str:
    day = "-" if plan.decided_through is None else str(plan.decided_through.toordinal())
    return f"{day} {int(plan.released)}"


def _blackout(text: str) -> Blackout:
    return Blackout.model_validate_json(text.partition("\n")[2])


def _closed(text: str) -> tuple[int, int]:
    day, times = text.split()[:2]
    return int(day), int(times)


def _spelled(place: TopicPlace | None) -> tuple[str, str]:
    """Partition and offset for a script; empty for no place."""
    return ("", "") if place is None else (str(place.partition), str(place.offset))


def _plan(text: str) -> MarketPlan:
    day, released = text.split()
    return MarketPlan(None if day == "-" else datetime.fromordinal(int(day)).date(), released == "1")


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store import Store

    _PORT: type[Store] = RedisStore
