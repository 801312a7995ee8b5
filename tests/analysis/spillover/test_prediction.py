from dataclasses import replace

import numpy as np
import pytest

from analysis.spillover import Graph
from analysis.spillover.graph import Pairs
from analysis.spillover.prediction import corrected, learned, predicted
from controller.errors import NotEstimable

NAMES = tuple(f"p{k:02d}" for k in range(40))


def graph_by(values: np.ndarray, error: float = 0.05) -> Graph:
    """A graph of one category whose edges are the pairs that lie close together in the first attribute."""
    one, two = np.triu_indices(len(values), 1)
    near = np.abs(values[one, 0] - values[two, 0]) < 0.4
    mean = np.where(near, 0.3, 0.0)
    same = np.full(len(one), error)
    pairs = Pairs(one, two, mean, mean, same, same, mean, same, same * 0 + 50, 1 - near, 1.0 - near, mean)
    own = np.full(len(values), -2.0)
    return Graph("v1", NAMES, ("c",) * len(values), pairs, pairs.where(near), own, own * 0 + 0.1, {})


VALUES = np.random.default_rng(1).normal(size=(40, 3)) * [1.0, 1.0, 100.0]


def test_the_student_finds_the_attribute_that_makes_substitutes() -> None:
    student = learned(graph_by(VALUES), VALUES, ("strength", "colour", "code"))
    moved = student.stretch * VALUES.std(axis=0)
    assert moved[0] > 5 * max(moved[1], moved[2])


def test_the_scale_of_an_attribute_makes_no_difference_to_what_is_predicted() -> None:
    graph = graph_by(VALUES)
    one = learned(graph, VALUES, ("a", "b", "c")).chance(VALUES[:5], VALUES[5:10])
    scaled = VALUES * [1000.0, 0.1, 1.0]
    two = learned(graph, scaled, ("a", "b", "c")).chance(scaled[:5], scaled[5:10])
    np.testing.assert_allclose(one, two, rtol=1e-3)


def test_a_product_without_history_gets_edges_to_those_it_is_like_and_they_are_marked() -> None:
    graph = graph_by(VALUES)
    student = learned(graph, VALUES, ("a", "b", "c"))
    found = predicted(graph, student, VALUES, {"fresh": ("c", np.array([0.0, 0.0, 0.0]))})
    others = {edge.second for edge in found}
    near = {name for name, value in zip(NAMES, VALUES[:, 0], strict=True) if abs(value) < 0.2}
    far = {name for name, value in zip(NAMES, VALUES[:, 0], strict=True) if abs(value) > 0.8}
    assert near <= others
    assert not far & others
    assert {edge.first for edge in found} == {"fresh"}
    assert found[0].weight == pytest.approx(0.3)


def test_a_spurious_edge_of_a_tail_product_is_decided_by_attributes_and_a_well_told_one_by_its_sales() -> None:
    graph = graph_by(VALUES)
    student = learned(graph, VALUES, ("a", "b", "c"))
    pairs = graph.candidates
    apart = np.abs(VALUES[pairs.first, 0] - VALUES[pairs.second, 0])
    at = int(np.argmax(apart))
    mean, error = pairs.mean.copy(), pairs.error.copy()
    mean[at], error[at] = 0.4, 0.3
    tail = corrected(replace(graph, candidates=replace(pairs, mean=mean, error=error)), student, VALUES)
    assert tail[at] < 0.05
    error[at] = 0.02
    told = corrected(replace(graph, candidates=replace(pairs, mean=mean, error=error)), student, VALUES)
    assert told[at] > 0.95


def test_a_missing_attribute_is_refused_with_product_and_name() -> None:
    values = VALUES.copy()
    values[3, 1] = np.nan
    with pytest.raises(NotEstimable, match="p03 has no b"):
        learned(graph_by(VALUES), values, ("a", "b", "c"))


def test_too_few_edges_teach_nothing() -> None:
    graph = graph_by(VALUES)
    with pytest.raises(NotEstimable, match="a student needs 20"):
        learned(replace(graph, edges=graph.edges.where(np.arange(len(graph.edges)) < 5)), VALUES, ("a", "b", "c"))


def test_a_product_with_history_or_of_an_unknown_category_is_refused() -> None:
    graph = graph_by(VALUES)
    student = learned(graph, VALUES, ("a", "b", "c"))
    with pytest.raises(NotEstimable, match="p00 has history"):
        predicted(graph, student, VALUES, {"p00": ("c", VALUES[0])})
    with pytest.raises(NotEstimable, match="of which the graph has no product"):
        predicted(graph, student, VALUES, {"new": ("other", VALUES[0])})
