"""The graph of substitutes on its compacted topic: several versions side by side, each with a head and its parts.

Ten thousand products do not fit one record. Pairs and clusters stand in numbered parts under keys of their own; the
head names their number and digest and is published last. A version, and each of its sets of clusters, is used whole or
not at all. A tombstone under the head's key removes the version.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from controller.definition.field_types import Hash, Instant, Message, Name, Text, canonical_json, sha256_hex
from controller.definition.weight_cut import Pair
from controller.errors import NotPublished
from controller.messages.control import ControlMessage

Row = TypeVar("Row", bound=tuple[object, ...])
#: pairs, or places of products, of one record: some 3 MB where names are as long as they may be
ROWS_A_PART = 20_000
#: a graph of ten million pairs
MOST_PARTS = 500
#: sizes of clusters that one version is published with
MOST_SIZES = 16
#: versions that are kept side by side: each reader holds them all
MOST_VERSIONS = 50

Number = Annotated[int, Field(ge=0)]
Part = Annotated[int, Field(ge=0, lt=MOST_PARTS)]
MaxSize = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class GraphPairs(ControlMessage):
    """A part of the pairs of one version: substitutes with positive, complements with negative elasticities."""

    version: Literal[1] = 1
    graph: Name
    part: Part
    #: product, product, mean of the two elasticities
    pairs: Annotated[tuple[tuple[Name, Name, float], ...], Field(max_length=ROWS_A_PART)]

    @property
    def key(self) -> str:
        return f"{self.graph}/pairs/{self.part}"


class GraphClusters(ControlMessage):
    """A part of the clusters of at most ``max_size`` products that one version is published with."""

    version: Literal[1] = 1
    graph: Name
    max_size: MaxSize
    part: Part
    #: cluster, product
    places: Annotated[tuple[tuple[Name, Name], ...], Field(max_length=ROWS_A_PART)]
    #: why products are in another cluster than in the version before
    reasons: Annotated[tuple[Text, ...], Field(max_length=ROWS_A_PART)] = ()

    @property
    def key(self) -> str:
        return f"{self.graph}/clusters/{self.max_size}/{self.part}"


class PublishedClusters(Message):
    """What a head says of the clusters of one size."""

    max_size: MaxSize
    clusters: Number
    parts: Annotated[int, Field(ge=0, le=MOST_PARTS)]
    digest: Hash
    #: share of the weight of substitution that leaves its cluster, and the largest share within one
    cut: Share
    heaviest: Share
    #: the version whose clusters were kept where that was possible; None: cut anew
    before: Name | None = None


class GraphVersion(ControlMessage):
    """The head of one version: what belongs to it. Published after its parts."""

    version: Literal[1] = 1
    graph: Name
    products: Number
    pairs: Number
    parts: Annotated[int, Field(ge=0, le=MOST_PARTS)]
    digest: Hash
    clusters: Annotated[tuple[PublishedClusters, ...], Field(max_length=MOST_SIZES)] = ()
    published_at: Instant

    @property
    def key(self) -> str:
        return self.graph


GraphPart = GraphPairs | GraphClusters | GraphVersion
GRAPH_TYPES: dict[type[Message], str] = {
    GraphVersion: "flipside.graph-version.v1",
    GraphPairs: "flipside.graph-pairs.v1",
    GraphClusters: "flipside.graph-clusters.v1",
}


@dataclass(frozen=True, slots=True)
class Cut:
    """The clusters of one size."""

    #: name -> products
    clusters: Mapping[str, tuple[str, ...]]
    cut: float
    heaviest: float
    before: str | None = None
    reasons: tuple[str, ...] = ()


def records_of(
    graph: str, products: int, pairs: Sequence[Pair], cuts: Mapping[int, Cut], at: datetime
) -> Iterator[GraphPart]:
    """A version as it is published, in this order: its parts, and the head at the end.

    Raises:
        NotPublished: it has more pairs or products than its records hold.
    """
    told = []
    parts = list(_chunks(tuple(pairs), graph))
    yield from (GraphPairs(graph=graph, part=k, pairs=rows) for k, rows in enumerate(parts))
    for max_size, cut in sorted(cuts.items()):
        places = tuple((name, product) for name, members in cut.clusters.items() for product in members)
        rows = list(_chunks(places, graph))
        reasons = tuple(reason[:500] for reason in cut.reasons)
        for k, some in enumerate(rows):
            said = reasons[k * ROWS_A_PART : (k + 1) * ROWS_A_PART]
            yield GraphClusters(graph=graph, max_size=max_size, part=k, places=some, reasons=said)
        told.append(
            PublishedClusters(
                max_size=max_size, clusters=len(cut.clusters), parts=len(rows), digest=_digest(places), cut=cut.cut,
                heaviest=cut.heaviest, before=cut.before,
            )
        )  # fmt: skip
    yield GraphVersion(
        graph=graph, products=products, pairs=len(pairs), parts=len(parts), digest=_digest(pairs),
        clusters=tuple(told), published_at=at,
    )  # fmt: skip


def _chunks(rows: tuple[Row, ...], graph: str) -> Iterator[tuple[Row, ...]]:
    if len(rows) > MOST_PARTS * ROWS_A_PART:
        raise NotPublished(
            f"graph {graph} has {len(rows)} rows, and {MOST_PARTS * ROWS_A_PART} are the most", "raise --least"
        )
    for start in range(0, len(rows), ROWS_A_PART):
        yield rows[start : start + ROWS_A_PART]


def _digest(rows: Sequence[tuple[object, ...]]) -> str:
    return sha256_hex(canonical_json(sorted(rows)))


@dataclass(slots=True)
class PublishedGraphs:
    """The topic folded: the last record of each key."""

    heads: dict[str, GraphVersion] = field(default_factory=dict)
    _pairs: defaultdict[str, dict[str, GraphPairs]] = field(default_factory=lambda: defaultdict(dict))
    _clusters: defaultdict[str, dict[str, GraphClusters]] = field(default_factory=lambda: defaultdict(dict))
    #: what was found whole
    _whole: dict[tuple[str, int], tuple[Pair, ...] | Cut] = field(default_factory=dict)

    def take(self, key: str, message: Message | None) -> None:
        """Take a record in; without a message it is a tombstone."""
        graph = key.partition("/")[0]
        self._whole = {name: found for name, found in self._whole.items() if name[0] != graph}
        match message:
            case GraphVersion():
                self.heads[graph] = message
            case GraphPairs():
                self._pairs[graph][key] = message
            case GraphClusters():
                self._clusters[graph][key] = message
            case _:
                self.heads.pop(key, None)
                self._pairs[graph].pop(key, None)
                self._clusters[graph].pop(key, None)

    def keys(self, graph: str) -> tuple[str, ...]:
        """Every key that a version has on the topic, the head's first."""
        return (graph, *self._pairs[graph], *self._clusters[graph])

    @property
    def newest_first(self) -> tuple[str, ...]:
        """Every version whose head is there, the one that was published last at the head."""
        return tuple(sorted(self.heads, key=lambda name: (self.heads[name].published_at, name), reverse=True))

    def pairs(self, graph: str) -> tuple[Pair, ...]:
        """All pairs of a version.

        Raises:
            NotPublished: it is not there, or not whole.
        """
        head = self._head(graph)
        held = self._whole.get((graph, 0))
        if isinstance(held, tuple):
            return held
        parts = self._pairs[graph]
        numbered = [parts[key] for k in range(head.parts) if (key := f"{graph}/pairs/{k}") in parts]
        found = tuple(pair for part in numbered for pair in part.pairs)
        if len(numbered) < head.parts or _digest(found) != head.digest:
            raise _not_whole(f"pairs of graph {graph}", len(numbered), head.parts)
        self._whole[graph, 0] = found
        return found

    def clusters(self, graph: str, max_size: int) -> Cut:
        """The clusters of at most so many products that a version is published with.

        Raises:
            NotPublished: the version is not there, has none of this size, or they are not whole.
        """
        head = self._head(graph)
        sizes = {one.max_size: one for one in head.clusters}
        if max_size not in sizes:
            has = ", ".join(map(str, sorted(sizes))) or "no size"
            raise NotPublished(
                f"graph {graph} is published with clusters of at most {has} products, not {max_size}",
                f"`flipside graph publish FILE --max-size {max_size}` adds them",
            )
        held, said = self._whole.get((graph, max_size)), sizes[max_size]
        if isinstance(held, Cut):
            return held
        parts = self._clusters[graph]
        numbered = [parts[key] for k in range(said.parts) if (key := f"{graph}/clusters/{max_size}/{k}") in parts]
        places = [place for part in numbered for place in part.places]
        if len(numbered) < said.parts or _digest(places) != said.digest:
            raise _not_whole(f"clusters of at most {max_size} products of graph {graph}", len(numbered), said.parts)
        members: defaultdict[str, list[str]] = defaultdict(list)
        for name, product in places:
            members[name].append(product)
        reasons = tuple(reason for part in numbered for reason in part.reasons)
        found = Cut({name: tuple(m) for name, m in members.items()}, said.cut, said.heaviest, said.before, reasons)
        self._whole[graph, max_size] = found
        return found

    def _head(self, graph: str) -> GraphVersion:
        head = self.heads.get(graph)
        if head is None:
            there = f"there are {', '.join(self.newest_first[:5])}" if self.heads else "none is"
            raise NotPublished(f"graph {graph} is not published; {there}", "`flipside graph publish FILE` publishes it")
        return head


def _not_whole(what: str, there: int, of: int) -> NotPublished:
    return NotPublished(
        f"the {what} are not whole on their topic: {there} of {of} parts, or parts of another publication",
        "publish it again with `flipside graph publish FILE`",
    )
