"""Pictures of the graph: what is drawn is what the graph has."""

import itertools
import json
import math
from pathlib import Path

import pytest

from analysis.report.graph import MOST_PRODUCTS, cut_chart, graph_chart, places
from analysis.report.picture import save

CLUSTERS = {"a": ("a", "b", "c"), "d": ("d", "e"), "f": ("f",)}
PAIRS = (("a", "b", 0.3), ("b", "c", 0.1), ("c", "d", 0.1), ("a", "f", -0.4), ("a", "elsewhere", 1.0))
ORDER = ("control", "dear")
ARMS = {"a": "control", "b": "control", "c": "control", "d": "dear", "e": "dear", "f": "control"}


def test_no_two_products_share_a_place_and_clusters_stay_together() -> None:
    many = {f"c{k}": tuple(f"p{k}-{i}" for i in range(1 + k % 9)) for k in range(40)}
    at = places(many)
    assert len(at) == sum(map(len, many.values()))
    assert min(math.dist(one, two) for one, two in itertools.combinations(at.values(), 2)) > 0.2


def test_only_substitutes_among_the_products_are_lines_and_the_cut_share_is_said() -> None:
    drawn = graph_chart("g1", PAIRS, CLUSTERS, ARMS, ORDER, "2026-03-02").to_dict()
    text = json.dumps(drawn)
    assert "20.0% of the weight leaves its cluster" in text
    assert "a and b" in text
    assert "elsewhere" not in text
    assert "a and f" not in text, "complements are no substitutes"
    assert '"domain": ["control", "dear"]' in text


def test_a_graph_that_is_too_large_to_draw_says_so() -> None:
    large = {"c": tuple(f"p{k}" for k in range(MOST_PRODUCTS + 1))}
    with pytest.raises(ValueError, match="401 products: from 1 to 400 can be drawn"):
        graph_chart("g1", (), large, {}, (), "2026-03-02")


@pytest.mark.parametrize("kind", ["svg", "html", "png"])
def test_both_pictures_are_written(tmp_path: Path, kind: str) -> None:
    cuts = [{"max_size": size, "clusters": 100 // size, "cut": 1 / size} for size in (2, 5, 10)]
    for name, chart in (
        ("graph", graph_chart("g1", PAIRS, CLUSTERS, ARMS, ORDER, "2026-03-02")), ("cut", cut_chart(cuts, 5, "g1")),
    ):  # fmt: skip
        save(chart, tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"{name}.{kind}").stat().st_size > 1000
