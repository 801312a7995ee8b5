"""Entries that begin within a day: their units are told at once, and once.

The answer to a trigger is what decides that an entry begins; its flips follow under the same fence. A crash in between
leaves the entry marked as starting, and the next tick of the clock does it again, which the store makes nothing of.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from controller.decisions.decide import Flip, starts
from controller.decisions.enrolment import replace_cluster
from controller.decisions.roster import Roster
from controller.designs.entries import Entry
from controller.messages.inputs import CatalogEntry
from streams.control.overrides import holds_back
from streams.flips.decision_records import withheld
from streams.flips.market_state import markets_of
from streams.flips.price_safety import safe
from streams.flips.shard import Shard, key_of_plan
from streams.flips.trigger_answers import spelled
from streams.store import LogRecord
from streams.worker.services import Parts

Begun = list[tuple[Roster, list[Entry]]]


def beginning(
    shard: Shard, laid_out: Roster, market: str, now: datetime, catalog: Mapping[str, CatalogEntry]
) -> list[tuple[Entry, tuple[Flip, ...]]]:
    """Entries of a market that begin within a day already given out, with the flips that begin them."""
    enrolment = shard.enrolments.get(key_of_plan(laid_out, market))
    if enrolment is None:
        return []
    starting = [known.entries[-1] for known in enrolment.clusters.values() if known.starting]
    if not starting or holds_back(shard.life(laid_out, now), shard.kills, market):
        return []
    plan = shard.plan(laid_out, market)
    found = ((entry, starts(laid_out, entry, plan, now, catalog)) for entry in starting)
    return [(entry, flips) for entry, flips in found if flips is not None]


async def begin(
    parts: Parts,
    shard: Shard,
    at: datetime,
    catalog: Mapping[str, CatalogEntry],
    records: list[LogRecord],
    markets: Collection[str] | None = None,
) -> Begun:
    """Start the entries that begin within a day, in these markets or in all of the shard's, in one trip to the store.

    Returns those of each experiment; ``records``: the log is told as well. ``catalog``: the last entry of every unit
    that ever was. Raises Fenced.
    """
    begun: Begun = []
    for laid_out in shard.rosters.values():
        mine = [m for m in markets_of(parts, shard, laid_out) if markets is None or m in markets]
        found = [one for market in mine for one in beginning(shard, laid_out, market, at, catalog)]
        if not found:
            continue
        flips = [await _safe(parts, shard, flip, catalog, records) for _, flips in found for flip in flips]
        outcomes = await parts.store.flip_all(shard.number, shard.epoch, flips, shard.remember)
        shard.relay.wake()
        for flip, outcome in zip(flips, outcomes, strict=True):
            records += withheld(flip, outcome)
            parts.metrics.flips.labels("within a day").inc(outcome.flips)
        for entry, flips_of_it in found:
            said = {"trigger": entry.trigger, "at": str(entry.starts_at), "flips": len(flips_of_it)}
            parts.log.info("entry begins", **said)
        begun.append((laid_out, [entry for entry, _ in found]))
    return begun


async def _safe(
    parts: Parts, shard: Shard, flip: Flip, catalog: Mapping[str, CatalogEntry], records: list[LogRecord]
) -> Flip:
    kept, told = await safe(parts, shard, flip, catalog)
    records += told
    return kept


async def begin_at_once(
    parts: Parts, shard: Shard, markets: Collection[str], catalog: Mapping[str, CatalogEntry]
) -> None:
    """Start what the answers of this moment start; where the log has more to be told, the next tick does it again.

    Raises Fenced.
    """
    records: list[LogRecord] = []
    begun = await begin(parts, shard, parts.clock.now(), catalog, records, markets)
    if not records:
        await mark_begun(parts, shard, begun)


async def mark_begun(parts: Parts, shard: Shard, begun: Begun) -> None:
    """Their units were published: they are not begun again. Raises Fenced."""
    changed: dict[str, str] = {}
    for laid_out, entries in begun:
        for plan, entry in ((key_of_plan(laid_out, entry.market), entry) for entry in entries):
            enrolment = shard.enrolments[plan]
            told = replace(enrolment.of(entry.cluster), starting=False)
            shard.enrolments[plan] = replace_cluster(enrolment, entry.cluster, told)
            name, text = spelled(plan, entry.cluster, shard.enrolments[plan])
            changed[name] = text
    await parts.store.triggers.begun(shard.number, shard.epoch, changed)


def anything_begins(
    parts: Parts, shard: Shard, laid_out: Roster, now: datetime, catalog: Mapping[str, CatalogEntry]
) -> bool:
    """Whether an entry waits to be begun."""
    return any(beginning(shard, laid_out, m, now, catalog) for m in markets_of(parts, shard, laid_out))
