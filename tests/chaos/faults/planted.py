"""Bugs planted on purpose, in adapters around the product's own: each must be caught by a rule of `tests.chaos.rules`.

Nothing here is a switch in the product: a worker or a client of a run is composed with the faulty part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.randomisation.hash_scores import score
from flipside_client import fold as client_fold
from flipside_client.fold import Fold, Held, Outcome
from flipside_client.record import Assignment
from streams.outputs import outbox_relay


@dataclass(frozen=True, slots=True)
class Bug:
    """A fault of a worker (its store, its parts) or of a client (its fold), and what brings it to light."""

    what: str
    #: at least one of these rules must be broken
    caught_by: frozenset[str]
    #: the script of faults of `tests.chaos.faults.scripts` under which it shows
    script: str
    store: Callable[[Any, Any], Any] | None = None
    parts: Callable[[type], type] | None = None
    fold: type[Fold] | None = None
    #: settings of the workers: what else would have caught it is switched off
    environment: Mapping[str, str] = field(default_factory=dict)


class Around:
    """A store in which some calls are wrong."""

    def __init__(self, store: Any, points: Any) -> None:
        self._store = store
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _edit(self, script: str, *edits: tuple[str, str]) -> None:
        text = self._store._scripts[script].script
        for old, new in edits:
            assert old in text, f"{script}.lua has changed: there is no {old!r}"
            text = text.replace(old, new)
        self._store._scripts[script] = self._store._redis.register_script(text)


class NoFence(Around):
    def __init__(self, store: Any, points: Any) -> None:
        super().__init__(store, points)
        self._edit("claim", ("if held > mine then", "if false then"))
        for script in ("flip", "mark_ticks_decided", "owned_hset"):
            self._edit(script, ("if held ~= mine then", "if false then"))


class OffsetApart(Around):
    """Totals in one call, the offset in the next."""

    def __init__(self, store: Any, points: Any) -> None:
        super().__init__(store, points)
        self._edit("fold_sales", ("redis.call('SET', KEYS[1], ARGV[2])\nreturn", "return"))

    async def fold_sales(self, partition: int, start: int, end: int, *rest: Any, **more: Any) -> bool:
        applied = await self._store.fold_sales(partition, start, end, *rest, **more)
        self._points.pass_by("between")
        if applied:
            await self._store._redis.set(self._store._input("sale", partition, "position"), end)
        return bool(applied)


class NoCompare(Around):
    """The offset is set, but not compared."""

    def __init__(self, store: Any, points: Any) -> None:
        super().__init__(store, points)
        self._edit("fold_sales", ("if stored ~= tonumber(ARGV[1]) then", "if false then"))


class NoIds(Around):
    """Ids of sales are not remembered."""

    async def fold_sales(self, partition: int, start: int, end: int, cells: Any, *_: Any, **__: Any) -> bool:
        return bool(await self._store.fold_sales(partition, start, end, cells))


class BlackoutWhenDeciding(Around):
    def __init__(self, store: Any, points: Any) -> None:
        super().__init__(store, points)
        self._edit(
            "flip",
            ("string.format('(%.0f', h.effective)", "string.format('(%.0f', h.decided)"),
            ("if w.starts <= h.effective then", "if w.starts <= h.decided then"),
        )


class DroppedBeforeAck(Around):
    async def outbox(self, shard: int, limit: int) -> Any:
        entries = await self._store.outbox(shard, limit)
        await self._store.published(shard, [entry.id for entry in entries])
        return entries


class DecidedAgain(Around):
    """What was done is not known to have been done."""

    def __init__(self, store: Any, points: Any) -> None:
        super().__init__(store, points)
        self._edit("flip", ("done = same and prev[2] >= h.day", "done = false"))


class NothingReported(Around):
    async def tell(self, shard: int, epoch: int, records: Sequence[tuple[str, str]]) -> None:
        await self._store.tell(shard, epoch, [(kind, body) for kind, body in records if "undelivered" not in kind])


class OwnDice(Around):
    """An arm that depends on who draws it and when."""

    async def flip_all(self, shard: int, epoch: int, flips: Any, *rest: Any) -> Any:
        thrown = [
            replace(
                flip,
                proposals=tuple(
                    replace(p, arm=score(str(epoch), p.unit, str(flip.decided_at)) % len(flip.arms))
                    for p in flip.proposals
                ),
            )
            for flip in flips
        ]
        return await self._store.flip_all(shard, epoch, thrown, *rest)


class AtOnce(Around):
    """Flips take effect when they are decided."""

    async def flip_all(self, shard: int, epoch: int, flips: Any, *rest: Any) -> Any:
        hurried = [replace(flip, effective_at=flip.decided_at) for flip in flips]
        return await self._store.flip_all(shard, epoch, hurried, *rest)


def no_dead_letters(parts: type) -> type:
    class Silent(parts):  # type: ignore[misc]
        async def reject(self, rejected: Any, at: Any) -> None:
            return None

    return Silent


def published_late(parts: type) -> type:
    """The relay does not look at the clock."""

    async def never(*_: Any) -> bool:
        return False

    vars(outbox_relay)["put_back"] = never
    return parts


class TakesVoid(Fold):
    """A reader that takes what the brokers had too late."""

    def take(
        self, key: bytes | None, value: bytes | None, late: bool = False, latest_ms: int | None = None
    ) -> tuple[Outcome, Assignment | None]:
        return super().take(key, value, latest_ms=latest_ms)


class LastWins(TakesVoid):
    """A reader that takes whatever it hears last; what is void too, because what comes late is both old and void."""

    def apply(self, record: Assignment) -> Outcome:
        earlier = tuple(r for r in self._held.get(record.unit, ()) if r.effective_at_ms < record.effective_at_ms)
        held: Held = (record, *earlier)
        self._held[record.unit] = held
        chain = client_fold.steps(held)
        assert chain is not None
        self._steps[record.unit] = chain
        return "applied"


class NoExpiry(Fold):
    """A reader that holds on to an arm for ever."""

    def apply(self, record: Assignment) -> Outcome:
        if record.expires_at_ms is not None:
            record = record._replace(expires_at_ms=2**60)
        return super().apply(record)


#: exactly once by offsets alone
NO_IDS = {"FLIPSIDE_DEDUPLICATE": "false"}

BUGS: dict[str, Bug] = {
    "no-fence": Bug(
        "the owner's epoch is not checked", frozenset({"one writer"}), "frozen before its decision", store=NoFence
    ),
    "offset-apart": Bug(
        "the offset is committed apart from the totals", frozenset({"sales doubled"}), "killed between", OffsetApart,
        environment=NO_IDS,
    ),
    "no-compare": Bug(
        "a batch is applied whatever was applied before it",
        frozenset({"sales doubled", "sales lost"}),
        "frozen before its fold",
        NoCompare,
        environment=NO_IDS,
    ),
    "no-dedupe": Bug("a sale that is sent twice is counted twice", frozenset({"sales doubled"}), "calm", NoIds),
    "blackout-early": Bug(
        "blackouts are looked up for the instant of the decision",
        frozenset({"blackout"}),
        "blacked out",
        BlackoutWhenDeciding,
    ),
    "early-drop": Bug(
        "the outbox is advanced before the brokers acknowledge",
        frozenset({"planned", "same everywhere"}),
        "killed before it publishes",
        DroppedBeforeAck,
    ),
    "decided-again": Bug(
        "a repeated decision is not recognised", frozenset({"once"}), "killed before it settles", DecidedAgain
    ),
    "silent-gap": Bug(
        "days without a decision are not reported", frozenset({"planned"}), "all away for days", NothingReported
    ),
    "own-dice": Bug("an arm depends on who draws it", frozenset({"draw"}), "calm", OwnDice),
    "at-once": Bug("a flip takes effect when it is decided", frozenset({"boundary"}), "calm", AtOnce),
    "no-dead-letters": Bug(
        "rejected records are thrown away", frozenset({"dead letters"}), "calm", parts=no_dead_letters
    ),
    "late": Bug(
        "what was not out before it began is published as it is", frozenset({"ahead"}), "away over a midnight",
        parts=published_late,
    ),
    "last-wins": Bug(
        "a reader applies what is older", frozenset({"one price", "as announced"}), "frozen before it publishes",
        fold=LastWins,
    ),
    "takes-void": Bug(
        "a reader takes what the brokers had only after it had begun", frozenset({"as announced"}),
        "asleep over a midnight", fold=TakesVoid,
    ),
    "no-expiry": Bug(
        "a reader ignores the end of a lease", frozenset({"fail safe"}), "all away for days", fold=NoExpiry
    ),
}  # fmt: skip
