"""How a group shares partitions out: evenly, and nothing moves that need not."""

from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from streams.kafka.sticky_assignor import Sticky, shared_out

Shares = dict[str, list[TopicPartition]]


def places(count: int) -> list[TopicPartition]:
    return [TopicPartition("tick", number) for number in range(count)]


def fresh(members: Sequence[str], count: int) -> Shares:
    return shared_out(places(count), {member: () for member in members})


def moved(before: Shares, after: Shares) -> int:
    owner = {place: member for member, share in before.items() for place in share}
    return sum(owner.get(place) != member for member, share in after.items() for place in share)


@pytest.mark.parametrize("members", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [0, 1, 6, 7, 32])
def test_every_partition_has_one_owner_and_no_share_is_larger_than_another_by_more_than_one(
    members: int, count: int
) -> None:
    shares = fresh([f"w{number}" for number in range(members)], count)
    assert sorted(place for share in shares.values() for place in share) == places(count)
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


def test_shared_out_again_nothing_moves() -> None:
    shares = fresh(["w1", "w2", "w3"], 7)
    assert shared_out(places(7), shares) == shares


def test_of_one_that_leaves_only_its_own_share_moves() -> None:
    shares = fresh(["w1", "w2", "w3"], 6)
    left = {member: share for member, share in shares.items() if member != "w2"}
    assert moved(shares, shared_out(places(6), left)) == 2


def test_to_one_that_comes_only_its_own_share_moves() -> None:
    shares = fresh(["w1", "w3"], 6)
    after = shared_out(places(6), shares | {"w2": []})
    assert (moved(shares, after), len(after["w2"])) == (2, 2)


def test_what_two_claim_goes_to_one_of_them() -> None:
    after = shared_out(places(4), {"zombie": places(4)[:2], "heir": places(4)})
    assert sorted(place for share in after.values() for place in share) == places(4)
    assert [len(share) for share in after.values()] == [2, 2]


def test_what_is_no_partition_any_more_is_claimed_in_vain() -> None:
    after = shared_out(places(2), {"w1": [TopicPartition("tick", 9)], "w2": []})
    assert [len(after[member]) for member in ("w1", "w2")] == [1, 1]


class OneTopic(ClusterMetadata):  # type: ignore[misc]
    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1, 2, 3, 4, 5}


def over_the_wire(assignor: Sticky) -> ConsumerProtocolMemberMetadata:
    return ConsumerProtocolMemberMetadata.decode(assignor.metadata(["tick"]).encode())


def test_members_tell_the_one_that_leads_what_they_were_given_last() -> None:
    members = {name: Sticky() for name in ("w1", "w2", "w3")}
    cluster = OneTopic()
    given = members["w1"].assign(cluster, {name: over_the_wire(assignor) for name, assignor in members.items()})
    for name, assignor in members.items():
        assignor.on_assignment(given[name])
    del members["w1"]
    again = members["w3"].assign(cluster, {name: over_the_wire(assignor) for name, assignor in members.items()})
    for name in members:
        assert set(given[name].partitions()) < set(again[name].partitions())
