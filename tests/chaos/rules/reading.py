"""How the rules read records: versions, leases, first words; and Kafka's default partitioner, written down anew."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.evidence.evidence import Entry, instant, of_kind


def each_said(entries: Iterable[Entry]) -> dict[tuple[str, int, int], Entry]:
    """The first record of each version of each assignment, by id and version, in the order of appearance."""
    found: dict[tuple[str, int, int], Entry] = {}
    for entry in sorted(of_kind(entries, "assignment"), key=lambda e: e.real):
        assert entry.body is not None
        found.setdefault((entry.body["id"], *version(entry.body)), entry)
    return found


def first_said(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The first record of the newest version of each assignment, by id. There is one version, but where Redis has lost
    a decision before it was out, and its owner published it all the same after it had been decided again."""
    said = each_said(entries)
    return {identity: said[identity, epoch, sequence] for identity, epoch, sequence in sorted(said)}


def by_unit(entries: Iterable[Entry]) -> dict[str, list[Mapping[str, Any]]]:
    """The assignments of each unit, once each, in the order of their versions."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in first_said(entries).values():
        assert entry.body is not None
        found[entry.body["unit"]].append(entry.body)
    return {unit: sorted(bodies, key=version) for unit, bodies in found.items()}


def version(body: Mapping[str, Any]) -> tuple[int, int]:
    return body["epoch"], body["sequence"]


def lease(body: Mapping[str, Any]) -> tuple[int, float]:
    """[effective, expires) in milliseconds; a release never expires."""
    ends = float("inf") if body["expires_at"] is None else instant(body["expires_at"])
    return instant(body["effective_at"]), ends


def shard_of(unit: str, partitions: int) -> int:
    """The partition of a unit's market, by murmur2 as in Kafka's Java client."""
    return (_murmur2(unit.split("/")[0].encode()) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
