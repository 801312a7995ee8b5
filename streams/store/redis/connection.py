"""The way to a Redis: its address, scripts in one atomic call each, and errors that say whose turn it is.

The only file that knows the Redis client.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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

from controller.errors import CannotReach
from streams.runtime.connect_retry import patiently
from streams.store import Fenced, StoreRefuses
from streams.store.redis.address import connect
from streams.store.restore_port import Damaged

SCRIPTS = Path(__file__).parent / "scripts"
#: scripts that only the owner of a shard may run
FENCED = frozenset(
    {
        "flip",
        "mark_ticks_decided",
        "append_records",
        "replace_late_by_control",
        "owned_hset",
        "restore_units",
        "restore_positions",
        "confirm_shard",
        "shard_is_quiescent",
        "write_shard_fields",
    }
)
#: what stands at the head of which scripts
HEADS = {
    "layout": frozenset({"flip", "replace_late_by_control", "restore_units"}),
    "fence": FENCED,
    "is_newer_offset": frozenset({"blackout", "kill"}),
}
#: how long one answer may take
ANSWER_SECONDS = 5.0
#: how often a lost answer is asked for again; and after so many times ANSWER_SECONDS it is CannotReach in any case,
#: because connecting anew has retries and timeouts of its own
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


class Link:
    """A server, and the names of keys there: ``{ns:t3}:units`` for shard 3, ``{ns:sale:3}:position`` for an input."""

    def __init__(self, url: str, namespace: str, shards: int, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Raises CannotReach for an address that cannot be read; connects with the first call."""
        self._redis, self._address = connect(url, answer_seconds)
        self._patience = PATIENCE * answer_seconds
        #: what something was wrong with
        self.suspect: set[tuple[str, int]] = set()
        self._namespace = namespace
        self._shards = shards
        #: shard -> the run of the server in which it was claimed
        self._claimed_in: dict[int, str] = {}
        texts = {path.stem: path.read_text() for path in sorted(SCRIPTS.glob("*.lua"))}
        self._scripts: dict[str, AsyncScript] = {
            name: self._redis.register_script("".join(texts[head] for head, of in HEADS.items() if name in of) + text)
            for name, text in texts.items()
            if name not in HEADS
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
        sent = calls
        if script in FENCED:
            run = self._claimed_in.get(self._place(keys[0])[1], "")
            sent = [[f"{args[0]} {run}", *args[1:]] for args in calls]
        try:
            if len(sent) == 1:
                return [await self._ask(self._scripts[script](keys=list(keys), args=list(sent[0])))]
            pipe = self._redis.pipeline(transaction=False)
            for args in sent:
                await self._scripts[script](keys=list(keys), args=list(args), client=pipe)
            return list(await self._ask(pipe.execute()))
        except ResponseError as error:
            # In a pipeline, the client puts words of its own around the server's.
            fence = re.search(r"FENCED (-?\d+)", str(error))
            if "BEHIND STARTED ANEW" in str(error):
                raise Fenced(
                    f"{keys[0]}: its server was started anew; the shard is claimed again, and compared with the log",
                    newer=False,
                ) from error
            if "BEHIND" in str(error):
                raise Fenced(f"{keys[0]} has come back older than its owner", newer=False) from error
            if "TAKEN" in str(error):
                raise Fenced(f"{keys[0]}: somebody else rebuilds this input", newer=True) from error
            if fence is None:
                place = self._place(keys[0])
                self.suspect.add(place)
                raise Damaged(keys[0], error, place) from error
            held, mine = int(fence[1]), calls[0][0]
            owner = f"belongs to the owner with epoch {held}" if held >= 0 else "belongs to nobody (claim it first)"
            raise Fenced(f"{keys[0]} {owner}, not to the one with {mine}", newer=held > int(mine)) from error

    def _place(self, key: str) -> tuple[str, int]:
        """What a key belongs to: ``t`` and a shard, or a topic and a partition."""
        tag = key[1 : key.index("}")].removeprefix(f"{self._namespace}:")
        if tag.startswith("t") and tag[1:].isdigit():
            return "t", int(tag[1:])
        topic, _, partition = tag.rpartition(":")
        return topic, int(partition)

    async def close(self) -> None:
        await self._redis.aclose()

    @asynccontextmanager
    async def _sound(self, key: str) -> AsyncIterator[None]:
        """Around what reads a key: what cannot be understood of it is Damaged."""
        try:
            yield
        except (ResponseError, ValueError, KeyError, TypeError) as error:
            place = self._place(key)
            self.suspect.add(place)
            raise Damaged(key, error, place) from error
