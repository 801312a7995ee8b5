"""Groups: a planted conjunction is named with the truth in its interval, and nothing is named where nothing differs."""

import numpy as np
import pyarrow as pa
import pytest

from analysis.heterogeneity.group_attributes import AttributeLevels, levels_of
from analysis.heterogeneity.group_statistics import UnitEffects, group_statistics
from analysis.heterogeneity.groups import find_groups
from analysis.heterogeneity.panel_effects import unit_effects
from analysis.heterogeneity.ranked_groups import ranked_groups
from analysis.panel_data.panel import BoolArray
from analysis.panel_data.panel_files import panel_from_table
from controller.errors import InvalidPanel, NotEstimable


def drawn(
    seed: int, planted: float = 0.2, n: int = 1000, clusters: int | None = None
) -> tuple[UnitEffects, AttributeLevels, BoolArray]:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 4, (n, 4))
    inside = (levels[:, 0] == 1) & (levels[:, 2] == 3)
    value = -0.1 + planted * inside + rng.normal(0, 0.15, n)
    attributes = levels_of({f"a{k}": [f"l{v}" for v in levels[:, k]] for k in range(4)}, n)
    cluster = np.arange(n) if clusters is None else rng.permutation(np.arange(n) % clusters)
    return UnitEffects(value, None, cluster), attributes, inside


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_conjunction_is_named_with_its_sign(seed: int) -> None:
    shown, attributes, inside = drawn(seed)
    found = find_groups(shown, attributes, rng=np.random.default_rng(seed))
    exact = [one for one in found.named if (one.members == inside).all()]
    assert exact
    assert all(one.effect > 0 > found.effect and one.contrast > 0 for one in exact)
    assert {one.name for one in exact} == {"a0 = l1 and a2 = l3"}


def test_effects_come_from_the_half_that_did_not_find_the_group() -> None:
    shown, attributes, inside = drawn(3)
    found = find_groups(shown, attributes, rng=np.random.default_rng(3))
    one = next(one for one in found.named if (one.members == inside).all())
    seen = []
    for k in np.flatnonzero(inside)[:20]:
        value = shown.value.copy()
        value[k] += 1e-3
        again = find_groups(UnitEffects(value, None, shown.cluster), attributes, rng=np.random.default_rng(3))
        same = next(g for g in again.named if (g.name, g.found_on) == (one.name, one.found_on))
        seen.append(same.effect != one.effect)
    # units of the finding half leave the effect as it was, those of the other half move it
    assert 0 < sum(seen) < 20


def test_the_table_says_how_many_groups_were_looked_at() -> None:
    shown, attributes, _ = drawn(0)
    found = find_groups(shown, attributes, rng=np.random.default_rng(0))
    # 4 attributes of 4 levels: 4 * 4, 6 * 16 and 4 * 64 conjunctions
    assert [(one.depth, one.conjunctions) for one in found.looked] == [(1, 16), (2, 96), (3, 256)]
    assert sum(one.tested for one in found.looked) == len(found.groups)
    assert sum(one.named for one in found.looked) == len(found.named)


def test_statistics_are_those_of_the_formulas_computed_by_hand() -> None:
    rng = np.random.default_rng(4)
    value, arm, cluster = rng.normal(0, 1, 40), rng.random(40) < 0.5, np.arange(40) // 2
    member = rng.random(40) < 0.5
    found = group_statistics(UnitEffects(value, arm, cluster), member[None])
    means, psi = {}, np.zeros((2, 20))
    for inside in (True, False):
        for treated in (True, False):
            cells = (member == inside) & (arm == treated)
            mean = value[cells].mean()
            sums = np.bincount(cluster, (value - mean) * cells, 20) / cells.sum()
            held = len(set(cluster[cells]))
            sums *= np.sqrt(held / (held - 1)) * (1 if treated else -1)
            means[inside, treated] = mean
            psi[1] += sums * (1 if inside else -1)
            psi[0] += sums * inside
    effect = means[True, True] - means[True, False]
    assert found.effect[0] == pytest.approx(effect)
    assert found.contrast[0] == pytest.approx(effect - means[False, True] + means[False, False])
    assert found.error[0] == pytest.approx(np.sqrt((psi[0] ** 2).sum()))
    assert found.contrast_error[0] == pytest.approx(np.sqrt((psi[1] ** 2).sum()))


def test_the_lowest_groups_are_looked_for_below_the_rest_only() -> None:
    shown, attributes, inside = drawn(1)
    up = find_groups(shown, attributes, rng=np.random.default_rng(1), direction="lowest")
    assert not any((one.members == inside).all() for one in up.named)
    down = UnitEffects(-shown.value, None, shown.cluster)
    found = find_groups(down, attributes, rng=np.random.default_rng(1), direction="lowest")
    assert any((one.members == inside).all() for one in found.named)


def test_units_of_one_cluster_are_on_one_side_and_shared_noise_names_nothing() -> None:
    named = 0
    for seed in range(20):
        shown, attributes, _ = drawn(seed, planted=0.0, n=600, clusters=40)
        noise = np.random.default_rng(100 + seed).normal(0, 0.3, 40)
        shared = UnitEffects(shown.value + noise[shown.cluster], None, shown.cluster)
        named += bool(find_groups(shared, attributes, rng=np.random.default_rng(seed)).named)
    # at most 5 %: more than 4 of 20 has a chance of 3 in 1,000
    assert named <= 4


def test_ranked_fifths_rise_where_effects_differ_and_tell_nothing_where_they_do_not() -> None:
    rng = np.random.default_rng(5)
    levels = rng.integers(0, 5, 2000)
    attributes = levels_of({"size": [f"s{v}" for v in levels], "other": list("ab") * 1000}, 2000)
    value = 0.1 * levels + rng.normal(0, 0.2, 2000)
    found = ranked_groups(UnitEffects(value, None, np.arange(2000)), attributes, rng=rng)
    assert list(np.diff([one.effect for one in found.groups]) > 0) == [True] * 4
    assert found.spread_low > 0.3
    arm = rng.random(2000) < 0.5
    outcome = 0.1 * levels * arm + rng.normal(0, 0.2, 2000)
    parallel = ranked_groups(UnitEffects(outcome, arm, np.arange(2000)), attributes, rng=rng)
    assert parallel.spread_low > 0.2


def test_attributes_that_make_no_groups_are_left_out_by_name_and_reason() -> None:
    found = levels_of(
        {"same": ["x"] * 200, "id": [f"u{k}" for k in range(200)], "kind": ["a", "b"] * 100, "price": list(range(200)),
         "gap": [None, "p", "q", ""] * 50, "none": [None] * 200}, 200
    )  # fmt: skip
    assert [one.name for one in found.attributes] == ["kind", "price", "gap"]
    assert found.attributes[1].levels[0] == "price < 49.75"
    said = " ".join(found.notes)
    assert "same is the same for all units" in said
    assert "id has 200 levels" in said
    assert "none is not known of any unit" in said
    assert "gap is not known of 100 of 200 units" in said


def test_ten_thousand_levels_are_left_out_in_one_line() -> None:
    found = levels_of({"id": [f"u{k}" for k in range(10_000)], "kind": ["a", "b"] * 5_000}, 10_000)
    assert [one.name for one in found.attributes] == ["kind"]
    (said,) = found.notes
    assert "id has 10,000 levels" in said
    assert len(said) < 200


def test_a_history_of_one_day_before_the_start_is_refused_where_units_keep_their_arm() -> None:
    units, days = [f"u{k}" for k in range(20)], ["2026-01-01", "2026-01-02", "2026-01-03"]
    rows = [(unit, day, 1.0, day > days[0] and k % 2 == 0) for k, unit in enumerate(units) for day in days]
    names, times, outcome, treated = (list(column) for column in zip(*rows, strict=True))
    table = {"unit": names, "time": times, "outcome": outcome, "treatment": treated}
    with pytest.raises(
        NotEstimable, match=r"1 period.s. before the treatment begins in 2026-01-02.*add earlier periods"
    ):
        unit_effects(
            panel_from_table(pa.table(table), unit="unit", time="time", outcome="outcome", treatment="treatment")
        )


def test_what_cannot_be_said_is_refused_with_what_can() -> None:
    with pytest.raises(NotEstimable, match="no attribute can make groups"):
        levels_of({"same": ["x"] * 3}, 3)
    with pytest.raises(InvalidPanel, match="2 values for 3 units"):
        levels_of({"kind": ["a", "b"]}, 3)
    kind = levels_of({"kind": ["a", "b"] * 10}, 20)
    few = UnitEffects(np.arange(20.0), None, np.arange(20) % 5)
    with pytest.raises(NotEstimable, match=r"5 clusters: .* the average effect can still be estimated"):
        find_groups(few, kind, rng=np.random.default_rng(0))
    with pytest.raises(NotEstimable, match="coarser attributes, or more clusters"):
        find_groups(UnitEffects(np.arange(20.0), None, np.arange(20) % 8), kind, rng=np.random.default_rng(0))


def test_a_category_of_one_product_is_counted_as_too_small() -> None:
    shown, _, _ = drawn(0, n=200)
    kinds = levels_of({"kind": ["only"] + ["a", "b"] * 99 + ["a"]}, 200)
    found = find_groups(shown, kinds, rng=np.random.default_rng(0))
    assert found.looked[0].too_small == 1
