"""One place says how many clusters a number needs, and the code that computes the number keeps to it."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from analysis.heterogeneity.forests.forest import FEWEST_CLUSTERS
from analysis.randomised.cluster_day import CLUSTERS_FOR_DAILY_VARIANCE
from analysis.sequential.block_differences import block_differences
from analysis.sequential.confidence_sequences import confidence_sequence
from analysis.sequential.running_sequences import CLUSTERS_NEEDED
from controller.definition.parameters import StaggeredRollout, Step
from controller.errors import NotEstimable
from controller.validation.cluster_minima import (
    CLUSTERS_FOR_HETEROGENEITY,
    NEEDS,
    Kind,
    least_clusters_an_arm,
    needed,
    requirement,
    too_few,
)
from tests.controller.builders import an_experiment


def test_the_analysis_uses_the_same_numbers() -> None:
    assert needed("fixed") == CLUSTERS_FOR_DAILY_VARIANCE
    assert NEEDS["always_valid"].an_arm == NEEDS["guardrail"].an_arm == CLUSTERS_NEEDED
    assert FEWEST_CLUSTERS == CLUSTERS_FOR_HETEROGENEITY


@pytest.mark.parametrize("clusters", range(4, 9))
def test_an_always_valid_interval_exists_exactly_where_the_rule_says(clusters: int) -> None:
    days = 8
    arm = np.array([[(cluster + day) % 2 for day in range(days)] for cluster in range(clusters)])
    arm[-1] = 1 - arm[0] if clusters % 2 == 0 else arm[-1]
    outcome = np.arange(clusters * days, dtype=float).reshape(clusters, days) ** 1.5
    blocks = block_differences(outcome, arm, np.arange(days))
    enough = too_few("always_valid", clusters) is None
    if enough:
        assert np.isfinite(confidence_sequence(blocks, planned_variance=1.0).effect).all()
    else:
        with pytest.raises(NotEstimable, match="needs 3 clusters in each arm"):
            confidence_sequence(blocks, planned_variance=1.0)


@pytest.mark.parametrize("kind", NEEDS)
def test_the_sentence_names_the_count_by_arm_and_in_all(kind: Kind) -> None:
    assert f"{NEEDS[kind].an_arm} clusters in each arm ({needed(kind, 3)} for 3 arms)" in requirement(kind, 3)
    assert too_few(kind, needed(kind)) is None
    assert f"with {needed(kind) - 1} clusters" in str(too_few(kind, needed(kind) - 1))


def test_the_smallest_arm_is_counted_as_the_draw_deals_it() -> None:
    assert least_clusters_an_arm(an_experiment(1, 7)) == 3
    assert least_clusters_an_arm(an_experiment(3, 2, clusters="market")) == 1
    steps = (Step(day=2, share=Decimal("0.25")), Step(day=5, share=Decimal("0.5")))
    assert (
        least_clusters_an_arm(an_experiment(4, 2, design=StaggeredRollout(kind="staggered_rollout", steps=steps))) == 4
    )


def test_the_page_on_designs_has_the_same_table() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "designs.md").read_text()
    table = page.partition("<!-- minima -->")[2].partition("<!-- end of minima -->")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.strip().splitlines()[2:]]
    assert rows == [(need.what, str(need.an_arm), need.otherwise) for need in NEEDS.values()]
