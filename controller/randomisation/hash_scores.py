"""Draws: chance as a hash of names, so that an arm does not depend on when, where or how often it is asked for.

By hand: the score of a cluster in a block is the first 16 hex digits of
``printf 'SEED|EXPERIMENT|BLOCK|CLUSTER' | sha256sum``.
"""

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

HASH_RANGE = 1 << 64


def score(seed: str, *names: str | int) -> int:
    """A number in [0, 2^64), a function of names alone: the first 8 bytes of the SHA-256 of ``seed|name|...``."""
    spelled = "|".join((seed, *map(str, names)))
    return int.from_bytes(hashlib.sha256(spelled.encode()).digest()[:8], "big")


def counts(seed: str, experiment: str, block: int, clusters: int, shares: Sequence[Fraction]) -> tuple[int, ...]:
    """How many clusters each arm gets in a block: shares met exactly, the fraction left over by systematic sampling.

    The expected count of arm k is exactly ``clusters * shares[k]``; two equal shares of an even number are halves.
    """
    start = Fraction(score(seed, experiment, block), HASH_RANGE)
    dealt, taken, cumulative = [], 0, Fraction(0)
    for share in shares:
        cumulative += share
        upto = math.floor(clusters * cumulative + start)
        dealt.append(upto - taken)
        taken = upto
    return tuple(dealt)


def deal(seed: str, experiment: str, block: int, clusters: Sequence[str], shares: Sequence[Fraction]) -> dict[str, int]:
    """The arm (its index) of each cluster in a block: clusters in the order of their scores, arms by their counts.

    Each cluster has arm k with probability exactly ``shares[k]`` over seeds; blocks are independent. O(G log G).
    """
    # The scores of all clusters, with the part of the text that they share hashed once: 2,000 clusters over a year are
    # 730,000 hashes. Eight bytes, largest first, compare as the numbers that they spell.
    shared = hashlib.sha256(f"{seed}|{experiment}|{block}|".encode())
    scored = []
    for cluster in clusters:
        own = shared.copy()
        own.update(cluster.encode())
        scored.append((own.digest()[:8], cluster))
    ordered = [cluster for _, cluster in sorted(scored)]
    arms = [
        arm for arm, count in enumerate(counts(seed, experiment, block, len(clusters), shares)) for _ in range(count)
    ]
    # The arms are laid out treated first: which end gets which arm is immaterial, the order is the hash's.
    return dict(zip(ordered, reversed(arms), strict=True))


def coin(seed: str, experiment: str, cluster: str, ordinal: int, shares: Sequence[Fraction]) -> int:
    """The arm of the ``ordinal``-th start of a cluster, fixed before anybody knows when that will be.

    By hand: ``printf 'SEED|EXPERIMENT|start|CLUSTER|ORDINAL' | sha256sum``; the first 16 hex digits over 2^64 fall into
    one of the shares, laid end to end.
    """
    place = Fraction(score(seed, experiment, "start", cluster, ordinal), HASH_RANGE)
    cumulative = Fraction(0)
    for arm, share in enumerate(shares):
        cumulative += share
        if place < cumulative:
            return arm
    raise AssertionError(f"shares {shares} do not sum to one")


def permuted(seed: str, experiment: str, block: int, label: str, size: int) -> tuple[int, ...]:
    """The numbers 0..size-1 in an order that depends on names alone; every order is equally likely over seeds."""
    return tuple(sorted(range(size), key=lambda k: (score(seed, experiment, block, label, k), k)))
