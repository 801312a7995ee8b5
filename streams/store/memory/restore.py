"""What `streams.store.restore_port` asks for, in this process's memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from controller.definition.field_types import from_milliseconds, milliseconds
from controller.messages.control import Kill
from streams.store import Fenced, Registration
from streams.store.memory.inputs import Total
from streams.store.memory.state import Held, MemoryShard, MemoryState, age
from streams.store.restore_port import CountedDay, Damaged, HeldUnit, LogPositions, ShardRest, Still, newest
from streams.store.trigger_port import PRICES


class MemoryRestore:
    """See `streams.store.restore_port.RestorableStore`."""

    def __init__(self, store: MemoryState) -> None:
        self._store = store

    # --- shards -------------------------------------------------------------------------------------------------------

    async def log_positions(self, shard: int) -> dict[str, int]:
        return dict(self._store.shards[shard].log)

    async def stand(self, shard: int, epoch: int, positions: LogPositions | None = None) -> None:
        held = self._store.shards[shard]
        held.own(epoch)
        held.log.update(positions or {})
        if not held.log:
            raise Fenced(f"shard {shard} has come back older than its owner", newer=False)

    async def still(self, shard: int, epoch: int) -> Still | None:
        there = self._store.shards[shard]
        there.own(epoch)
        return None if there.outbox else Still(there.sequence, there.tick, str(there.entries))

    async def held(self, shard: int) -> dict[str, HeldUnit]:
        there = self._store.shards[shard]
        return {unit: _held_unit(unit, held, there.orders[unit]) for unit, held in there.units.items()}

    async def held_by_turns(self, shard: int) -> AsyncIterator[list[HeldUnit]]:
        yield list((await self.held(shard)).values())

    async def restore_units(self, shard: int, epoch: int, units: Sequence[HeldUnit]) -> int:
        there, written = self._store.shards[shard], 0
        there.own(epoch)
        for back in units:
            held = there.units.get(back.unit)
            known = None if held is None else _held_unit(back.unit, held, there.orders[back.unit])
            kept = newest(back, known)
            if kept is known:
                continue
            there.units[kept.unit] = Held(
                kept.owner,
                date.fromordinal(kept.day),
                kept.arm,
                kept.on_control,
                from_milliseconds(kept.effective_ms),
                from_milliseconds(kept.expires_ms) if kept.expires_ms else None,
                kept.price_minor,
            )
            there.orders[kept.unit] = kept.order
            written += 1
        return written

    async def restore_rest(self, shard: int, epoch: int, rest: ShardRest) -> None:
        there = self._store.shards[shard]
        there.own(epoch)
        for key, plan in rest.plans.items():
            old = there.plans.get(key)
            if old is None or (plan.decided_through or date.min, plan.released) > (
                old.decided_through or date.min, old.released
            ):  # fmt: skip
                there.plans[key] = plan
        for market, (day, times) in rest.closed.items():
            before = there.closed.get(market, (0, 0))
            there.closed[market] = max(day, before[0]), max(times, before[1])
        there.sequence = max(there.sequence, rest.sequence)
        there.tick = max(there.tick, rest.tick)

    async def restore_registrations(self, shard: int, registrations: Sequence[Registration]) -> None:
        for back in registrations:
            there = self._store.registered.get(back.experiment.name)
            if there is None or age(back) > age(there):
                await self._store.put_registration(back)

    async def restore_kills(self, shard: int, kills: Sequence[Kill]) -> None:
        held = self._store.kills_pulled
        for kill in kills:
            if kill.id not in held or held[kill.id].requested_at < kill.requested_at:
                held[kill.id] = kill
                self._store.version += 1

    async def shard_damage(self, shard: int) -> Damaged | None:
        return None

    async def forget_shard(self, shard: int) -> None:
        """Definitions stay: this store keeps them once for all shards."""
        self._store.shards[shard] = MemoryShard(epoch=self._store.shards[shard].epoch)

    # --- inputs -------------------------------------------------------------------------------------------------------

    async def with_position(self, topic: str, partitions: Sequence[int]) -> frozenset[int]:
        return frozenset(number for number in partitions if (topic, number) in self._store.positions)

    async def input_damage(self, topic: str, partition: int) -> Damaged | None:
        return None

    async def begin_input(self, topic: str, partition: int, token: str) -> None:
        await self.forget_input(topic, partition)
        self._store.rebuilding[topic, partition] = token
        if topic == PRICES:
            for place in [place for place in self._store.histories if place[0] == partition]:
                del self._store.histories[place]
        if topic == "sale":
            store = self._store
            store.totals = {key: total for key, total in store.totals.items() if key[3] != partition}
            store.owed = {key for key in store.owed if key[3] != partition}
            store.seen_ids = {key: ids for key, ids in store.seen_ids.items() if key[0] != partition}
            store.firsts.pop(partition, None)
            store.sealed_days.pop(partition, None)

    def _check(self, topic: str, partition: int, token: str) -> None:
        if self._store.rebuilding.get((topic, partition)) != token:
            raise Fenced(f"{topic} {partition}: somebody else rebuilds this input", newer=True)

    async def put_ids(self, partition: int, token: str, ids: Sequence[tuple[int, bytes]]) -> frozenset[int]:
        self._check("sale", partition, token)
        known = {place for place, (day, id) in enumerate(ids) if id in self._store.seen_ids.get((partition, day), ())}
        for day, id in ids:
            self._store.seen_ids.setdefault((partition, day), set()).add(id)
        return frozenset(known)

    async def put_days(self, partition: int, token: str, days: Sequence[CountedDay]) -> None:
        self._check("sale", partition, token)
        for d in days:
            key = (d.market, d.day, d.unit, partition)
            self._store.totals[key] = Total(
                d.quantity, d.revenue_minor, d.cost_minor, d.costed, d.events, d.published, d.revision, d.late
            )
            if d.events != d.published:
                self._store.owed.add(key)

    async def finish_input(
        self,
        topic: str,
        partition: int,
        token: str,
        position: int,
        firsts: Mapping[tuple[str, int], int] | None = None,
        sealed: Mapping[str, int] | None = None,
    ) -> None:
        self._check(topic, partition, token)
        if topic == "sale":
            self._store.firsts[partition] = dict(firsts or {})
            # What was shut meanwhile stays so.
            self._store._seal(partition, sealed or {})
            self._store.counts[partition] = token
        self._store.positions[topic, partition] = position
        del self._store.rebuilding[topic, partition]

    async def forget_input(self, topic: str, partition: int) -> None:
        self._store.positions.pop((topic, partition), None)
        if topic == "sale":
            self._store.caught_up_at.pop(partition, None)
            self._store.counts.pop(partition, None)

    async def days(self, partition: int) -> list[CountedDay]:
        return [
            total.counted(market, day, unit)
            for (market, day, unit, p), total in sorted(self._store.totals.items())
            if p == partition
        ]


def _held_unit(unit: str, held: Held, order: tuple[int, int]) -> HeldUnit:
    epoch, sequence = order
    return HeldUnit(
        unit, held.owner, held.day.toordinal(), held.arm, held.on_control, milliseconds(held.effective_at),
        0 if held.expires_at is None else milliseconds(held.expires_at), held.price_minor, sequence, epoch,
    )  # fmt: skip


if TYPE_CHECKING:  # mypy compares every signature with the port's
    from streams.store.restore_port import RestorableStore

    _PORT: type[RestorableStore] = MemoryRestore
