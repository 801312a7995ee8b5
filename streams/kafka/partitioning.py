"""Which partition a key goes to: part of the contract, and all that a sender needs to know of the workers."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


def partition_of_passing(key: bytes, partitions: int) -> int:
    """Kafka's default partition of a key (murmur2), which is not remembered."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


@lru_cache(maxsize=1 << 20)
def partition_of(key: bytes, partitions: int) -> int:
    """The same of a unit or a market, remembered: part of the contract, and what makes a market's shard."""
    return partition_of_passing(key, partitions)
