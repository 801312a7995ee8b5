"""How a group assigns partitions: evenly, and members keep those that they have as far as that allows.

Each partition that moves costs a hand-over. aiokafka's own sticky assignor keeps what it remembers in its class, so
that the groups of one process would take each other's partitions for theirs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

VERSION = 0


def shared_out(
    places: Iterable[TopicPartition], held: Mapping[str, Iterable[TopicPartition]]
) -> dict[str, list[TopicPartition]]:
    """Each member's share, given what each had: no share is larger than another by more than one."""
    free = set(places)
    least, larger = divmod(len(free), len(held))
    mine: dict[str, list[TopicPartition]] = {}
    for member in sorted(held):
        # Two may claim the same: one of them was away, and does not know yet that it was replaced.
        mine[member] = sorted(free.intersection(held[member]))
        free.difference_update(mine[member])
    # The larger shares go to those that have most.
    by_size = sorted(mine, key=lambda member: (-len(mine[member]), member))
    shares = {member: least + (rank < larger) for rank, member in enumerate(by_size)}
    for member, share in shares.items():
        free.update(mine[member][share:])
        del mine[member][share:]
    waiting = sorted(free, reverse=True)
    for member, share in shares.items():
        while len(mine[member]) < share:
            mine[member].append(waiting.pop())
    return {member: sorted(share) for member, share in mine.items()}


class Sticky(AbstractPartitionAssignor):  # type: ignore[misc]
    """The assignor of one consumer, whose topics all members of its group read. It remembers what it was given last."""

    name = "flipside-sticky"

    def __init__(self) -> None:
        self._held: Sequence[TopicPartition] = ()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What a member says of itself when it joins."""
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), json.dumps(self._held).encode())

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        self._held = assignment.partitions()

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """What the member that leads the group tells the others."""
        topics = {topic for said in members.values() for topic in said.subscription}
        places = [TopicPartition(topic, n) for topic in topics for n in cluster.partitions_for_topic(topic) or ()]
        shares = shared_out(places, {member: _held(said.user_data) for member, said in members.items()})
        return {member: _assignment(share) for member, share in shares.items()}


def _held(said: bytes) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic, number in json.loads(said or b"[]")]


def _assignment(share: Iterable[TopicPartition]) -> ConsumerProtocolMemberAssignment:
    by_topic: dict[str, list[int]] = {}
    for place in share:
        by_topic.setdefault(place.topic, []).append(place.partition)
    return ConsumerProtocolMemberAssignment(VERSION, sorted(by_topic.items()), b"")
