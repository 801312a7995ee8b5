"""Any sequence of calls: memory and Redis answer alike, and the promises of the product hold after each of them."""

import asyncio
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decisions.decide import Flip
from controller.definition.field_types import milliseconds
from controller.messages.control import Kill
from controller.messages.inputs import Blackout
from controller.schedule.blackout import binding
from controller.schedule.due import MarketPlan
from streams.store import (
    DIGEST_BYTES,
    Cell,
    CountedBefore,
    DayFull,
    DirtyCell,
    Fenced,
    Granted,
    OutboxEntry,
    Registration,
    Store,
)
from streams.store.memory.store import MemoryStore
from streams.store.redis.store import RedisStore
from streams.store.restore_port import CountedDay
from tests.streams.builders import at, experiment, flip, ordinal
from tests.streams.store.strategies import CLUSTERS, REMEMBER, days, flips, rarely, windows

SHARDS = 2


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    unit, amount = draw(st.sampled_from(sorted(CLUSTERS))), st.integers(0, 10**13)
    return Cell("de", ordinal(draw(days)), unit, 1, draw(amount), draw(amount), draw(st.integers(0, 1)), 1)


ids = st.sets(st.tuples(days.map(ordinal), st.integers(0, 5).map(lambda k: bytes([k]) * DIGEST_BYTES)), max_size=4).map(
    sorted
)
plans = st.dictionaries(
    st.sampled_from(["juice.1/de", "milk.1/de"]),
    st.builds(MarketPlan, st.none() | days.map(lambda day: at(day).date()), st.booleans()),
)
registrations = st.builds(
    Registration,
    st.sampled_from(["juice", "milk"]).map(experiment),
    st.sampled_from(["hash"] * 3 + ["new"]),
    st.sampled_from(["scheduled", "running", "paused"]),
)
kills = st.builds(
    Kill,
    id=st.sampled_from(["all", "de"]),
    scope=st.just("all"),
    lifted=st.booleans(),
    who=st.just("ada"),
    why=st.just("wrong prices"),
    requested_at=st.just(at(0)),
)
closings = st.dictionaries(st.sampled_from(["de", "fr"]), st.tuples(days, days))
records = st.lists(st.tuples(st.just("kind"), st.text(max_size=5)), max_size=2)
some_texts = st.dictionaries(st.sampled_from(["de/a|x", "de/b|y|z"]), st.text(max_size=5), max_size=2)
histories = st.dictionaries(st.sampled_from(["juice.1", "milk.2"]), some_texts, max_size=2)
enrolled = st.dictionaries(st.sampled_from(["juice.1/de de/a", "juice.1/de de/b"]), st.text(max_size=5), max_size=2)

CALLS = st.one_of(
    st.tuples(st.just("flip"), rarely, flips()),
    st.tuples(st.just("flip"), rarely, flips()),
    st.tuples(st.just("flip"), rarely, flips()),
    st.tuples(st.just("again")),
    st.tuples(st.just("claim"), st.integers(-1, 1)),
    st.tuples(st.just("settle"), rarely, plans, records, st.integers(-1, 2)),
    st.tuples(st.just("published"), st.sets(st.integers(0, 5))),
    st.tuples(st.just("put_blackout"), windows()),
    st.tuples(st.just("put_blackout"), windows()),
    st.tuples(st.just("remove_blackout"), st.sampled_from(["a", "B"])),
    st.tuples(st.just("put_registration"), registrations),
    st.tuples(st.just("put_kill"), kills),
    st.tuples(st.just("fold_sales"), st.integers(-1, 1), st.integers(0, 2), st.lists(cells(), max_size=4), ids),
    st.tuples(st.just("fold_sales"), st.just(0), st.just(1), st.lists(cells(), max_size=4), ids),
    st.tuples(st.just("seal"), days),
    st.tuples(st.just("shut"), days),
    st.tuples(
        st.just("fold_rivals"),
        st.integers(-1, 1),
        st.integers(0, 2),
        histories,
    ),
    st.tuples(st.just("enrol"), rarely, enrolled, records, st.integers(-1, 2)),
    st.tuples(st.just("begun"), rarely, enrolled),
    st.tuples(st.just("look")),
    st.tuples(st.just("cleaned"), st.integers(0, 3)),
    st.tuples(st.just("set_closed"), rarely, closings),
)


@dataclass
class Drive:
    """One store under a sequence of calls; what it answered, with nothing in it that only one adapter knows."""

    store: Store
    epoch: int = 0
    tick: int = 0
    flip: Flip | None = None
    looks: list[list[DirtyCell]] = field(default_factory=list)

    def owner(self, stale: bool) -> int:
        return self.epoch - int(stale)

    async def do(self, verb: str, *args: Any) -> object:
        try:
            return await getattr(self, f"_{verb}")(*args)
        except Fenced:
            return Fenced

    async def _flip(self, stale: bool, asked: Flip) -> object:
        self.flip = asked
        return await self.store.flip(0, self.owner(stale), asked, REMEMBER)

    async def _again(self) -> object:
        return self.flip and await self.store.flip(0, self.epoch, self.flip, REMEMBER)

    async def _claim(self, step: int) -> object:
        found = await self.store.claim(0, self.epoch + step)
        self.epoch += step
        return found

    async def _settle(self, stale: bool, plans: Any, records: Any, step: int) -> object:
        self.tick = max(0, self.tick + step)
        await self.store.settle(0, self.owner(stale), plans, records, self.tick)
        return await self.store.claim(0, self.epoch)

    async def _published(self, places: set[int]) -> None:
        entries = await self.store.outbox(0, 100)
        await self.store.published(0, [entry.id for k, entry in enumerate(entries) if k in places])

    async def _put_blackout(self, blackout: Blackout) -> object:
        return await self.store.put_blackout(blackout)

    async def _remove_blackout(self, id: str) -> object:
        return await self.store.remove_blackout(id)

    async def _put_registration(self, registration: Registration) -> None:
        await self.store.put_registration(registration)

    async def _put_kill(self, kill: Kill) -> object:
        return await self.store.put_kill(kill)

    async def _fold_sales(self, step: int, size: int, cells: list[Cell], ids: list[tuple[int, bytes]]) -> object:
        start = await self.store.position("sale", 0) + step
        try:
            return await self.store.fold_sales(0, start, start + size, cells, ids)
        except CountedBefore as known:
            return known.which
        except DayFull as full:
            return full.held

    async def _seal(self, day: int) -> None:
        await self.store.seal(0, {"de": ordinal(day), "fr": ordinal(9)})

    async def _shut(self, day: int) -> None:
        await self.store.shut({"de": ordinal(day)})

    async def _fold_rivals(self, step: int, size: int, moves: Any) -> object:
        start = await self.store.position("competitor-price", 0) + step
        return await self.store.triggers.fold(0, start, start + size, moves)

    async def _enrol(self, stale: bool, clusters: dict[str, str], records: Any, step: int) -> None:
        position, _ = await self.store.triggers.enrolments(0)
        await self.store.triggers.enrol(0, self.owner(stale), clusters, records, position + step)

    async def _begun(self, stale: bool, clusters: dict[str, str]) -> None:
        await self.store.triggers.begun(0, self.owner(stale), clusters)

    async def _look(self) -> object:
        self.looks.append(await self.store.dirty({"de": ordinal(5)}))
        return self.looks[-1]

    async def _cleaned(self, back: int) -> None:
        if back < len(self.looks):
            await self.store.cleaned(self.looks[-1 - back])

    async def _set_closed(self, stale: bool, markets: Any) -> None:
        await self.store.set_closed(0, self.owner(stale), markets)

    async def seen(self) -> list[object]:
        """All that can be read."""
        store = self.store
        reads: list[Awaitable[object]] = [
            store.plans(0),
            self.owed(),
            store.registrations(1),
            store.blackouts(1),
            store.kills(1),
            store.past_prices(0, sorted(CLUSTERS)),
            store.position("sale", 0),
            store.position("competitor-price", 0),
            store.triggers.histories(0, {watch: ["de/a|x", "de/b|y|z"] for watch in ("juice.1", "milk.2")}),
            store.triggers.enrolments(0),
            store.caught_up(),
            store.dirty({"de": ordinal(99)}),
            store.closed_through(0),
            store.closed_days(),
            store.sealed(0),
            store.recount_from(),
            *(self.unit_days(day) for day in range(8)),
        ]
        return [await read for read in reads]

    async def unit_days(self, day: int) -> list[CountedDay]:
        return sorted(await self.store.unit_days("de", ordinal(day)), key=lambda found: found.unit)

    async def owed(self) -> list[OutboxEntry]:
        return [replace(entry, id="") for entry in await self.store.outbox(0, 100)]


@dataclass
class Promises:
    """The grants of each unit as a pricing system applies them, and what may never be seen there."""

    sequence: int = 0
    held: dict[str, tuple[str, Granted, int, bool]] = field(default_factory=dict)

    def check(self, asked: Flip, entries: list[OutboxEntry], blackouts: list[Blackout]) -> None:
        owner, instant = f"{asked.experiment}.{asked.experiment_version}", milliseconds(asked.effective_at)
        for row in (row for entry in entries for row in entry.granted if row.sequence > self.sequence):
            self.sequence = row.sequence
            on_control = row.arm == asked.arms[0]
            standing, same_arm = False, False
            if row.unit in self.held:
                held_by, held, began, control = self.held[row.unit]
                ends = held.expires_ms
                if not asked.urgent:
                    replaced = began == instant and held_by != owner
                    assert began < instant or replaced, "a grant never begins before another"
                assert held_by == owner or ends is None or ends <= instant, "one experiment per unit at any instant"
                # A lease that reaches the instant is what the unit shows until then; otherwise it shows control.
                if (ends is None or ends >= instant) and not control:
                    standing = True
                    same_arm = (held_by, held.arm, held.price_minor) == (owner, row.arm, row.price_minor)
            kill = asked.urgent and asked.expires_at is None
            window = None if kill else binding(blackouts, row.unit, row.cluster, asked.effective_at)
            if kill:
                assert on_control
                assert row.expires_ms is None, "a kill is for good"
            if window is None and row.code in ("limit", "dropped"):
                assert on_control, "a limit keeps control"
            elif window is None:
                assert (row.arm, row.detail) == (row.planned_arm, "")
            else:
                assert (row.code, row.detail) == ("blackout", window.id)
                assert same_arm if standing else on_control, "no arm changes in a blackout"
            self.held[row.unit] = owner, row, instant, on_control


@settings(max_examples=150, deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=40))
def test_memory_and_redis_answer_alike_and_both_keep_the_promises(redis_url: str, calls: list[tuple[Any, ...]]) -> None:
    async def run() -> None:
        redis = RedisStore(redis_url, uuid.uuid4().hex, SHARDS)
        twins = [Drive(MemoryStore(SHARDS)), Drive(redis)]
        promises = Promises()
        for twin in twins:
            await twin.store.claim(0, 0)
            for name in ("juice", "milk"):
                await twin.store.put_registration(Registration(experiment(name), "hash"))
        for call in calls:
            answers = [await twin.do(*call) for twin in twins]
            assert answers[0] == answers[1], call
            asked = twins[0].flip
            if call[0] in ("flip", "again") and asked is not None:
                owed = [await twin.owed() for twin in twins]
                assert owed[0] == owed[1]
                promises.check(asked, owed[0], list((await redis.blackouts(0)).values()))
        memory_seen, redis_seen = [await twin.seen() for twin in twins]
        assert memory_seen == redis_seen
        await redis.close()

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(st.lists(windows(), max_size=7), days, st.sampled_from([0, -1, 1]))
def test_the_window_that_binds_is_the_one_that_the_controller_names(
    redis_url: str, blackouts: list[Blackout], day: int, offset_ms: int
) -> None:
    """Also one millisecond to either side of a window's ends."""

    async def run() -> None:
        store = RedisStore(redis_url, uuid.uuid4().hex, 1)
        await store.claim(0, 0)
        await store.put_registration(Registration(experiment("juice"), "hash"))
        for blackout in blackouts:
            await store.put_blackout(blackout)
        kept = {blackout.id: blackout for blackout in blackouts}
        assert await store.blackouts(0) == kept
        instant = at(day + offset_ms / 86_400_000)
        asked = replace(
            flip(dict.fromkeys(CLUSTERS, 1), day, clusters=CLUSTERS, design_hash="hash"), effective_at=instant
        )
        await store.flip(0, 0, asked)
        (entry,) = await store.outbox(0, 9)
        for row in entry.granted:
            window = binding(kept.values(), row.unit, row.cluster, instant)
            assert (row.code, row.detail) == (("scheduled", "") if window is None else ("blackout", window.id))
        await store.close()

    asyncio.run(run())
