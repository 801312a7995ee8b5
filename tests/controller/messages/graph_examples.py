"""One example of each record of the graph's topic, with its key."""

from datetime import UTC, datetime

from controller.definition.field_types import Message
from controller.messages.graphs import GraphClusters, GraphPairs, GraphVersion, PublishedClusters

AT = datetime(2026, 3, 3, tzinfo=UTC)

GRAPH_EXAMPLES: dict[type[Message], tuple[Message, str | None]] = {
    GraphVersion: (
        GraphVersion(graph="g1", products=3, pairs=2, parts=1, digest="0" * 64, published_at=AT,
                     clusters=(PublishedClusters(max_size=2, clusters=2, parts=1, digest="1" * 64, cut=0.25,
                                                 heaviest=0.75, before="g0"),)),
        "g1",
    ),
    GraphPairs: (GraphPairs(graph="g1", part=0, pairs=(("tea", "mate", 0.3), ("tea", "milk", -0.1))), "g1/pairs/0"),
    GraphClusters: (
        GraphClusters(graph="g1", max_size=2, part=0, places=(("tea", "tea"), ("tea", "mate"), ("milk", "milk")),
                      reasons=("mate goes to tea, which has more of its weight",)),
        "g1/clusters/2/0",
    ),
}  # fmt: skip
