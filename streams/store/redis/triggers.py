"""What `streams.store.trigger_port` asks for, on Redis: each fold and each answer is one Lua call."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from streams.store import LogRecord
from streams.store.trigger_port import PRICES, Histories


class RedisTriggers:
    """See `streams.store.trigger_port.TriggerStore`."""

    def __init__(
        self,
        redis: Any,
        ask: Callable[[Any], Awaitable[Any]],
        run: Callable[[str, Sequence[str], Sequence[Any]], Awaitable[Any]],
        shard: Callable[[int, str], str],
        input_: Callable[[str, int, str], str],
    ) -> None:
        """Given are the client, and what `streams.store.redis.connection.Link` asks, runs and names its keys with."""
        self._redis, self._ask, self._run, self._shard = redis, ask, run, shard
        self._name = input_

    def _input(self, partition: int, name: str) -> str:
        return self._name(PRICES, partition, name)

    async def fold(self, partition: int, start: int, end: int, histories: Histories) -> bool:
        keys = [self._input(partition, name) for name in ("position", "watch:")]
        moves = [(watch, name, text) for watch, texts in histories.items() for name, text in texts.items()]
        stored = await self._run("fold_rival_prices", keys, [start, end, to_json(moves)])
        return bool(end == stored)

    async def histories(self, partition: int, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        asked = {watch: list(names) for watch, names in wanted.items() if names}
        pipe = self._redis.pipeline(transaction=False)
        for watch, names in asked.items():
            pipe.hmget(self._input(partition, f"watch:{watch}"), names)
        found: dict[str, dict[str, str]] = {watch: {} for watch in wanted}
        for (watch, names), texts in zip(asked.items(), await self._ask(pipe.execute()), strict=True):
            found[watch] = {name: text for name, text in zip(names, texts, strict=True) if text is not None}
        return found

    async def rivals(self, partition: int, watch: str) -> frozenset[str]:
        return frozenset(await self._ask(self._redis.hkeys(self._input(partition, f"watch:{watch}"))))

    async def enrolments(self, shard: int) -> tuple[int, dict[str, str]]:
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(self._shard(shard, "trigger"))
        pipe.hgetall(self._shard(shard, "enrolments"))
        position, clusters = await self._ask(pipe.execute())
        return int(position or 0), dict(clusters)

    async def enrol(
        self,
        shard: int,
        epoch: int,
        clusters: Mapping[str, str],
        records: Sequence[LogRecord],
        position: int,
    ) -> None:
        # Triggers are answered as ticks are settled: the same script, with the position of another topic.
        keys = [self._shard(shard, name) for name in ("epoch", "trigger", "enrolments", "outbox", "sequence")]
        pairs = [part for pair in clusters.items() for part in pair]
        await self._run(
            "mark_ticks_decided", keys, [epoch, position, json.dumps(list(records)) if records else "", 0, *pairs]
        )

    async def begun(self, shard: int, epoch: int, clusters: Mapping[str, str]) -> None:
        pairs = [part for pair in clusters.items() for part in pair]
        keys = [self._shard(shard, name) for name in ("epoch", "enrolments")]
        if pairs:
            await self._run("owned_hset", keys, [epoch, *pairs])


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store.trigger_port import TriggerStore

    _PORT: type[TriggerStore] = RedisTriggers
