"""Unsold units: what is said of listed units without a sale when a market's day is closed. Pure.

A day's listed units are cut into parts in the order of their names, so that a record stays small; a unit stays in its
part when the day is closed again.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import cast

from controller.messages.events import MissingReason, UnsoldUnits

#: listed units that share a record: about 60 kB of names
UNITS_PER_PART = 4000


@dataclass(frozen=True, slots=True)
class Part:
    """The unsold products of one part of a day's listed units; those that have a row by now may still be in it."""

    zeros: tuple[str, ...] = ()
    missing: Mapping[MissingReason, tuple[str, ...]] = field(default_factory=dict)
    revision: int = 0

    def products(self) -> Iterator[str]:
        yield from self.zeros
        for products in self.missing.values():
            yield from products


def parts_of(
    listed: Sequence[str],
    sold: Container[str],
    closed: Container[str],
    silent: Container[int],
    partition: Callable[[str], int],
) -> tuple[Part, ...]:
    """What becomes of a day's listed products, sorted by name, of which those in ``sold`` have a row.

    ``closed``: those that could not be bought. ``silent``: partitions whose feed was. ``partition``: that of a product.
    """
    found = []
    for first in range(0, len(listed), UNITS_PER_PART):
        unsold = [product for product in listed[first : first + UNITS_PER_PART] if product not in sold]
        shut = tuple(product for product in unsold if product in closed)
        rest = [product for product in unsold if product not in closed]
        unknown = tuple(product for product in rest if partition(product) in silent)
        zeros = tuple(product for product in rest if partition(product) not in silent)
        reasons: dict[MissingReason, tuple[str, ...]] = {"feed_silent": unknown, "closed": shut}
        found.append(Part(zeros, {why: products for why, products in reasons.items() if products}))
    return tuple(found)


def revived(
    parts: Sequence[Part], sold: Container[str], silent: Container[int], partition: Callable[[str], int], revision: int
) -> tuple[Part, ...]:
    """The parts after late sales: units of feeds that live after all become zeros. Never the other way round.

    A part that changes has a higher revision than before, ``revision`` at least, and none of the products in ``sold``.
    """
    found = []
    for part in parts:
        unknown = [product for product in part.missing.get("feed_silent", ()) if product not in sold]
        alive = [product for product in unknown if partition(product) not in silent]
        if not alive:
            found.append(part)
            continue
        still = tuple(product for product in unknown if partition(product) in silent)
        shut = tuple(product for product in part.missing.get("closed", ()) if product not in sold)
        zeros = sorted([*(product for product in part.zeros if product not in sold), *alive])
        reasons: dict[MissingReason, tuple[str, ...]] = {"feed_silent": still, "closed": shut}
        missing = {why: products for why, products in reasons.items() if products}
        found.append(Part(tuple(zeros), missing, max(revision, part.revision + 1)))
    return tuple(found)


def counts(parts: Sequence[Part], sold: Container[str]) -> tuple[int, dict[MissingReason, int]]:
    """Zeros, and missing units by reason, of products without a row."""
    zeros = sum(product not in sold for part in parts for product in part.zeros)
    missing: dict[MissingReason, int] = {}
    for part in parts:
        for why, products in part.missing.items():
            missing[why] = missing.get(why, 0) + sum(product not in sold for product in products)
    return zeros, {why: count for why, count in missing.items() if count}


def living(parts: Sequence[Part], events: Mapping[int, int], partition: Callable[[str], int]) -> dict[int, int]:
    """Events of the partitions whose feed lived, in their order: also of those that sold nothing, and have zeros."""
    quiet = {partition(product) for part in parts for product in part.zeros} - events.keys()
    return dict(sorted({**events, **dict.fromkeys(quiet, 0)}.items()))


def message(market: str, day: date, number: int, part: Part, sold: Container[str]) -> UnsoldUnits:
    """A part as it is published: without products that have a row."""
    missing: dict[MissingReason, tuple[str, ...]] = {
        why: tuple(product for product in products if product not in sold) for why, products in part.missing.items()
    }
    return UnsoldUnits(
        market=market,
        day=day,
        part=number,
        zeros=tuple(product for product in part.zeros if product not in sold),
        missing={why: products for why, products in missing.items() if products},
        revision=part.revision,
    )


def part_of(said: UnsoldUnits) -> Part:
    """A part as it was published."""
    return Part(said.zeros, said.missing, said.revision)


def packed(parts: Collection[Part]) -> str:
    """Parts as a store keeps them."""
    rows = [[part.zeros, part.missing, part.revision] for part in parts]
    return b64encode(zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 1)).decode()


def unpacked(text: str) -> tuple[Part, ...]:
    """What `packed` made; raises ValueError."""
    try:
        rows = json.loads(zlib.decompress(b64decode(text, validate=True)))
        return tuple(
            Part(tuple(zeros), {cast(MissingReason, why): tuple(p) for why, p in missing.items()}, revision)
            for zeros, missing, revision in rows
        )
    except (zlib.error, TypeError, AttributeError) as error:
        raise ValueError(f"no unsold units: {error}") from error
