"""Draws: marginals, joint probabilities, independence, and the same arms wherever and whenever they are asked for."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from math import isqrt, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.definition.experiment import design_hash
from controller.designs import design_of
from controller.messages.events import Registered
from controller.randomisation.hash_scores import counts, deal, score
from tests.controller.builders import BEFORE, START, an_experiment

SEEDS = 4000
HALF = (Fraction(1, 2), Fraction(1, 2))
names = st.text("abcdefghij0123456789.-", min_size=1, max_size=8)


@st.composite
def share_vectors(draw: st.DrawFn) -> tuple[Fraction, ...]:
    weights = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    return tuple(Fraction(weight, sum(weights)) for weight in weights)


def test_a_score_is_the_first_sixteen_hex_digits_that_sha256sum_prints() -> None:
    # printf '7|oj-2026|3|m0/p1' | sha256sum
    assert score("7", "oj-2026", 3, "m0/p1") == int(hashlib.sha256(b"7|oj-2026|3|m0/p1").hexdigest()[:16], 16)


@given(names, names, st.integers(0, 999), st.integers(0, 200), share_vectors())
def test_counts_use_every_cluster_and_are_within_one_of_their_shares(
    seed: str, experiment: str, block: int, clusters: int, shares: tuple[Fraction, ...]
) -> None:
    dealt = counts(seed, experiment, block, clusters, shares)
    assert sum(dealt) == clusters
    assert all(abs(count - clusters * share) < 1 for count, share in zip(dealt, shares, strict=True))


@given(names, st.integers(0, 999), st.integers(0, 60))
def test_an_even_number_of_clusters_is_cut_into_exact_halves(seed: str, block: int, pairs: int) -> None:
    clusters = [f"c{k}" for k in range(2 * pairs)]
    dealt = Counter(deal(seed, "x", block, clusters, HALF).values())
    assert dealt[0] == dealt[1] == pairs


@given(st.lists(names, min_size=1, max_size=20, unique=True), names, share_vectors(), st.randoms())
def test_arms_do_not_depend_on_the_order_in_which_clusters_are_named(
    clusters: list[str], seed: str, shares: tuple[Fraction, ...], chance: object
) -> None:
    shuffled = list(clusters)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert deal(seed, "x", 0, clusters, shares) == deal(seed, "x", 0, shuffled, shares)


@pytest.mark.parametrize(
    "shares", [HALF, (Fraction(1, 3),) * 3, (Fraction(3, 4), Fraction(1, 4)), (Fraction(1, 5), Fraction(4, 5))]
)
def test_marginals_and_pairs_have_their_planned_probabilities_over_seeds(shares: tuple[Fraction, ...]) -> None:
    clusters = [f"c{k}" for k in range(5)]
    singles: Counter[tuple[str, int]] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    planned_pair = 0.0
    for seed in range(SEEDS):
        arms = deal(str(seed), "x", 0, clusters, shares)
        singles.update(arms.items())
        pairs.update((a, b) for a in clusters for b in clusters if a < b and arms[a] == arms[b] == 1)
        ones = counts(str(seed), "x", 0, len(clusters), shares)[1]
        planned_pair += ones * (ones - 1) / (5 * 4) / SEEDS  # sampling without replacement, given the count
    for arm, share in enumerate(shares):
        for cluster in clusters:
            assert _within_four_errors(singles[cluster, arm], float(share))
    assert all(_within_four_errors(times, planned_pair) for times in pairs.values())
    assert len(pairs) == 10 or planned_pair == 0


def test_expected_counts_are_exact_where_the_clusters_do_not_divide() -> None:
    # 5 clusters, shares 1/2: two or three, each half of the time
    threes = sum(counts(str(seed), "x", 0, 5, HALF)[1] == 3 for seed in range(SEEDS))
    assert _within_four_errors(threes, 0.5)


def test_blocks_are_independent() -> None:
    clusters = ["a", "b", "c", "d"]
    drawn = [
        (deal(str(s), "x", 0, clusters, HALF)["a"], deal(str(s), "x", 1, clusters, HALF)["a"]) for s in range(SEEDS)
    ]
    for cell in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert _within_four_errors(drawn.count(cell), 0.25)


def test_two_experiments_with_one_seed_are_independent() -> None:
    clusters = ["a", "b", "c", "d"]
    same = sum(
        deal(str(s), "x", 0, clusters, HALF)["a"] == deal(str(s), "y", 0, clusters, HALF)["a"] for s in range(SEEDS)
    )
    assert _within_four_errors(same, 0.5)


def test_arms_drawn_twice_in_another_order_in_another_process_and_by_hand_are_equal() -> None:
    experiment = an_experiment(days=6)
    message = Registered(
        id="r", experiment=experiment, design_hash=design_hash(experiment), registered_at=BEFORE
    ).model_dump_json()
    design, days = design_of(experiment), range(experiment.days)

    def drawn(order: list[int]) -> dict[int, dict[str, int]]:
        blocks = {day: design.block_on(experiment, START.fromordinal(START.toordinal() + day)) for day in order}
        return {day: dict(sorted(design.arms(experiment, block).items())) for day, block in blocks.items() if block}

    once, backwards = drawn(list(days)), drawn(list(reversed(days)))
    assert len(once) == experiment.days
    assert once == backwards
    assert once == _in_another_process(message)
    assert once == _by_hand(json.loads(message))


def _in_another_process(message: str) -> dict[int, dict[str, int]]:
    program = (
        "import sys, json\n"
        "from datetime import timedelta\n"
        "from controller.messages.events import Registered\n"
        "from controller.designs import design_of\n"
        "e = Registered.model_validate_json(sys.stdin.read()).experiment\n"
        "d = design_of(e)\n"
        "print(json.dumps([dict(d.arms(e, d.block_on(e, e.start + timedelta(days=k)))) for k in range(e.days)]))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], input=message, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return {day: dict(sorted(arms.items())) for day, arms in enumerate(json.loads(printed))}


def _by_hand(published: dict[str, object]) -> dict[int, dict[str, int]]:
    """From the published JSON with hashlib alone: no code of ours."""
    definition = published["experiment"]
    assert isinstance(definition, dict)
    body = {name: value for name, value in definition.items() if name != "seed"}
    body["seed_commitment"] = hashlib.sha256(definition["seed"].encode()).hexdigest()
    spelled = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(spelled).hexdigest() == published["design_hash"]
    arms = {}
    for day in range(definition["days"]):
        digest = {
            unit: hashlib.sha256(f"{definition['seed']}|{definition['name']}|{day}|{unit}".encode()).hexdigest()[:16]
            for unit in definition["units"]
        }
        ranked = [unit for _, unit in sorted((hashed, unit) for unit, hashed in digest.items())]
        half = len(ranked) // 2  # the first half of the ranking is treated
        arms[day] = {unit: int(ranked.index(unit) < half) for unit in sorted(ranked)}
    return arms


def _within_four_errors(times: int, probability: float, trials: int = SEEDS) -> bool:
    """Whether a count is within four binomial standard errors: a false alarm once in 16,000 looks."""
    assert isqrt(trials) > 1
    return abs(times / trials - probability) <= 4 * sqrt(probability * (1 - probability) / trials)
