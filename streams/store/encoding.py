"""How decisions and cells are spelled inside the store: shared by both adapters, so that they cannot drift apart."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from controller.decisions.decide import Flip, Proposal
from controller.definition.experiment import Experiment
from controller.definition.field_types import from_milliseconds, milliseconds
from controller.messages.control import LifecycleChanged
from controller.messages.inputs import Blackout
from controller.validation.price_rules import PriceChange
from streams.store import Cell, DirtyCell, Granted, LogRecord, OutboxEntry, Registration
from streams.store.restore_port import CountedDay, HeldUnit

EPOCH = datetime.fromtimestamp(0, UTC)
#: what a Lua number holds exactly
EXACT = 2**53
#: units decided in one atomic call: keeps a script near a millisecond
UNITS_PER_CALL = 400


def batches(proposals: Sequence[Proposal]) -> Iterator[Sequence[Proposal]]:
    """A flip in pieces that one call can carry."""
    for start in range(0, len(proposals), UNITS_PER_CALL):
        yield proposals[start : start + UNITS_PER_CALL]


def flip_header(flip: Flip) -> dict[str, Any]:
    """What all units of a flip share."""
    return {
        "owner": f"{flip.experiment}.{flip.experiment_version}",
        "experiment": flip.experiment,
        "version": flip.experiment_version,
        "design_hash": flip.design_hash,
        "market": flip.market,
        "block": flip.block,
        "day": flip.day.toordinal(),
        "arms": list(flip.arms),
        "currency": flip.currency,
        "effective": milliseconds(flip.effective_at),
        "expires": 0 if flip.expires_at is None else milliseconds(flip.expires_at),
        "keep_until": milliseconds(flip.keep_until),
        "decided": milliseconds(flip.decided_at),
        "release": flip.is_release,
        "code": "released" if flip.is_release else "scheduled",
        "urgent": flip.urgent,
    }


def arms(header: Mapping[str, object]) -> Sequence[str]:
    """The arms that the header of a flip names, control first."""
    found = header["arms"]
    assert isinstance(found, Sequence), "the header of a flip lists its arms"
    return found


def rows(proposals: Sequence[Proposal]) -> list[list[Any]]:
    """Proposals as the flip script reads them; those that are what the draw asked for say no more."""
    return [
        [p.unit, p.cluster, p.arm, list(p.prices_minor)]
        if p.planned_arm is None and not p.detail
        else [
            p.unit, p.cluster, p.arm, list(p.prices_minor), planned_arm(p), p.detail,
            "" if p.planned_arm is None else p.code,
        ]
        for p in proposals
    ]  # fmt: skip


def planned_arm(proposal: Proposal) -> int:
    """What the draw asked for."""
    return proposal.arm if proposal.planned_arm is None else proposal.planned_arm


def granted(row: Sequence[Any]) -> Granted:
    """One row of an outbox entry. Lua has no null in arrays: false stands for a price that is not known."""
    unit, cluster, arm, planned, price, expires, code, detail, sequence = row
    return Granted(
        unit, cluster, arm, planned, None if price is False else price, expires or None, code, detail, sequence
    )


def outbox_entry(entry_id: str, fields: Mapping[str, str]) -> OutboxEntry:
    """An entry of the stream of an outbox."""
    return OutboxEntry(
        id=entry_id,
        epoch=int(fields["e"]),
        header=json.loads(fields.get("h", "{}")),
        granted=tuple(granted(row) for row in json.loads(fields.get("g", "[]"))),
        records=tuple(LogRecord(*record) for record in json.loads(fields.get("r", "[]"))),
        again="again" in fields,
    )


def window(blackout: Blackout) -> str:
    """A blackout as the flip script reads it; ``ends``, then ``id`` come first: this text's order is who binds."""
    return json.dumps(
        {
            "ends": ceil_milliseconds(blackout.ends_at),
            "id": blackout.id,
            "kind": blackout.scope.kind,
            "name": "" if blackout.scope.kind == "global" else blackout.scope.name,
            "starts": ceil_milliseconds(blackout.starts_at),
        }
    )


def ceil_milliseconds(instant: datetime) -> int:
    """The first whole millisecond not before an instant: whether a window holds a whole one is then exact."""
    return -((EPOCH - instant) // timedelta(milliseconds=1))


def registration_json(registration: Registration) -> str:
    return json.dumps(
        {
            "experiment": registration.experiment.model_dump(mode="json"),
            "design_hash": registration.design_hash,
            "state": registration.state,
            "frozen": registration.frozen,
            "history": [change.model_dump(mode="json") for change in registration.history],
            "listed": registration.listed,
        },
        sort_keys=True,
    )


def registration(text: str | bytes) -> Registration:
    body: Mapping[str, Any] = json.loads(text)
    return Registration(
        experiment=Experiment.model_validate_json(json.dumps(body["experiment"])),
        design_hash=body["design_hash"],
        state=body["state"],
        frozen=body["frozen"],
        history=tuple(LifecycleChanged.model_validate_json(json.dumps(change)) for change in body["history"]),
        listed={unit: (price, cost) for unit, (price, cost) in body["listed"].items()},
    )


def price_changes(text: str) -> tuple[PriceChange, ...]:
    """``ms:price ms:price``, as the flip script writes it."""
    pairs = (change.split(":") for change in text.split())
    return tuple(PriceChange(from_milliseconds(int(at)), int(price)) for at, price in pairs)


def cell_rows(cells: Sequence[Cell]) -> list[list[Any]]:
    """Cells as the fold script reads them; amounts beyond `EXACT` travel as strings."""
    return [
        [c.market, c.day, c.unit, c.quantity, _amount(c.revenue_minor), _amount(c.cost_minor), c.costed, c.events]
        for c in cells
    ]


def _amount(minor: int) -> int | str:
    return minor if minor < EXACT else str(minor)


def ids_by_day(ids: Sequence[tuple[int, bytes]]) -> tuple[list[int], list[tuple[int, int]], bytes]:
    """Ids as the fold script reads them: sorted by day, how many of each day, one after the other.

    The first says where each of them stood.
    """
    if len({day for day, _ in ids}) == 1:
        return list(range(len(ids))), [(ids[0][0], len(ids))], b"".join([identity for _, identity in ids])
    order = sorted(range(len(ids)), key=lambda place: ids[place][0])
    days = [(day, len(list(same))) for day, same in groupby(ids[place][0] for place in order)]
    return order, days, b"".join(ids[place][1] for place in order)


def dirty_cell(partition: int, market: str, day: int, unit: str, text: str, offset: int) -> DirtyCell:
    quantity, revenue, cost, costed, events, published, revision, *late = (int(part) for part in text.split())
    return DirtyCell(
        partition, market, day, unit, quantity, revenue, cost, costed, events, revision, offset,
        published, sum(late),
    )  # fmt: skip


def held_text(held: HeldUnit) -> str:
    """A unit's state as the flip script writes it; false stands for a price that is not known."""
    price = False if held.price_minor is None else held.price_minor
    state = [
        held.owner, held.day, held.arm, held.on_control, held.effective_ms, held.expires_ms, price,
        held.sequence, held.epoch,
    ]  # fmt: skip
    return json.dumps(state)


def held_unit(unit: str, text: str) -> HeldUnit:
    owner, day, arm, on_control, effective, expires, price, sequence, epoch = json.loads(text)
    return HeldUnit(
        unit, owner, day, arm, on_control, effective, expires, None if price is False else price, sequence, epoch
    )


def day_text(day: CountedDay) -> str:
    """A unit-day as the fold script writes it."""
    return (
        f"{day.quantity} {day.revenue_minor} {day.cost_minor} {day.costed} {day.events} {day.published} {day.revision}"
        + (f" {day.late}" if day.late else "")
    )


def counted_day(market: str, day: int, unit: str, text: str) -> CountedDay:
    quantity, revenue, cost, costed, events, published, revision, *late = (int(part) for part in text.split())
    return CountedDay(market, day, unit, quantity, revenue, cost, costed, events, published, revision, sum(late))
