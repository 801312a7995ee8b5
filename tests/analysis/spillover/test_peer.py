"""Another package's figures, committed: its weighted least squares and our Hajek contrasts are one number."""

import json

import pytest

from benchmarks.spillover.exposure_peer import PAIRS, SEEDS, case_of
from flipside.schemas import ROOT

#: sums of sixty terms in another order
SAME = 1e-8


def test_hajek_contrasts_are_those_of_weighted_least_squares_in_spillover_effects() -> None:
    rows = json.loads((ROOT / "benchmarks/results/spillover_peer.json").read_text())["rows"]
    assert {(row["seed"], row["contrast"]) for row in rows} == {(seed, pair) for seed in SEEDS for pair in PAIRS}
    for row in rows:
        assert getattr(case_of(row["seed"]).ours(), row["contrast"]).value == pytest.approx(row["peer"], abs=SAME)
