"""Effects from a frame: what a person hands over, and what is refused."""

import numpy as np
import pytest

from analysis.panel_data.substitutes import Substitutes
from analysis.spillover import spillover_effects
from controller.errors import NotEstimable

GRAPH = Substitutes("g1", tuple((f"p{2 * c}", f"p{(2 * c + 1 + 2 * (c % 3 == 0)) % 40}", 1.0) for c in range(20)))


def frame(**changed: object) -> dict[str, object]:
    """Twenty clusters of two: treated ones sell one more, less .6 of the share of treated neighbours."""
    treated = np.repeat(np.arange(20) % 2, 2)
    rng = np.random.default_rng(1)
    return {
        "unit": [f"m/p{k}" for k in range(40)],
        "cluster": np.repeat(np.arange(20), 2),
        "treated": treated,
        "outcome": 1.0 * treated + rng.normal(0, 0.1, 40),
        **changed,
    }


def test_products_without_a_market_are_units_too() -> None:
    with_market = spillover_effects(frame(), GRAPH)
    without = spillover_effects(frame(unit=[f"p{k}" for k in range(40)]), GRAPH)
    assert with_market == without
    assert with_market.naive.value is not None
    assert (with_market.units, with_market.clusters) == (40, 20)


def test_the_order_of_rows_does_not_matter() -> None:
    given = frame()
    order = np.random.default_rng(2).permutation(40)
    shuffled = {name: np.asarray(column)[order] for name, column in given.items()}
    one, other = spillover_effects(given, GRAPH), spillover_effects(shuffled, GRAPH)
    for name in ("naive", "total", "spillover"):
        assert getattr(one, name).value == pytest.approx(getattr(other, name).value, abs=1e-12)
        assert getattr(one, name).standard_error == pytest.approx(getattr(other, name).standard_error, abs=1e-12)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"treated": np.r_[2, np.zeros(39)]}, "treated is 1 for units of the treated arm"),
        ({"outcome": np.r_[np.nan, np.zeros(39)]}, "outcome of m/p0 is nan"),
        ({"unit": ["m/p0", *(f"m/p{k}" for k in range(39))]}, "unit m/p0 has more than one row"),
        ({"treated": np.r_[1, np.zeros(39)]}, "cluster 0 has units of both arms"),
        ({"cluster": np.repeat(np.arange(5), 8), "treated": np.repeat([0, 1, 0, 1, 0], 8)}, "at least six"),
        ({"unit": [f"m/q{k}" for k in range(40)]}, "has no pair among the 40 units"),
    ],
)
def test_a_frame_that_says_nothing_is_refused_with_the_way_out(changed: dict[str, object], says: str) -> None:
    with pytest.raises(NotEstimable, match=says):
        spillover_effects(frame(**changed), GRAPH)


def test_a_missing_column_is_named() -> None:
    given = frame()
    del given["cluster"]
    with pytest.raises(NotEstimable, match="no column cluster"):
        spillover_effects(given, GRAPH)
