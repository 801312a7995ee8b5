"""Real sales through the whole system: every row counted once, no promise broken, the planted effect found."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flipside.replay.progress import Result
from flipside.sales_history.history import read_history
from flipside.simulated_shop.shop import pieces
from tests.e2e.running import Servers, final_estimates, plan, replay

pytestmark = pytest.mark.broker

FULL = "106,139"


def assert_honest(result: Result) -> None:
    assert result.events_counted == result.events_in
    assert result.broken_promises == ()
    assert (result.dead_lettered, result.revisions) == (0, 0)
    assert result.ci_low is not None
    assert result.ci_high is not None
    assert result.ci_low <= result.truth <= result.ci_high


@pytest.mark.shared_data
@pytest.mark.parametrize("effect", [-0.10, 0.0])
async def test_weeks_of_real_sales_are_counted_once_and_the_planted_effect_lies_inside(
    servers: Servers, namespace: str, shared_data: Path, effect: float
) -> None:
    history = read_history(shared_data / "orange_juice").first(4)
    result = await replay(servers.settings(namespace), plan(history, effect))
    assert_honest(result)
    assert result.events_in == history.rows
    assert result.flips > 0
    final = final_estimates(result.estimates)["units", "treatment", "1990-03-15"]
    assert result.cells + never_compared(final["left_out"]) == history.rows


def never_compared(left_out: Mapping[str, int]) -> int:
    """Unit-days that sold, of stores that the draw gave one arm only so far."""
    return sum(count for reason, count in left_out.items() if reason != "unobserved")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.shared_data
@pytest.mark.parametrize("effect", [-0.10, 0.0])
async def test_all_weeks_of_real_sales_are_counted_once_and_the_planted_effect_lies_inside(
    servers: Servers, namespace: str, shared_data: Path, effect: float
) -> None:
    history = read_history(shared_data / "orange_juice")
    played = plan(history, effect)
    result = await replay(servers.settings(namespace), played)
    assert f"{history.rows:,}" == FULL
    # Of few packs, a tenth less may be none: then there is nothing to publish.
    none_left = sum(
        pieces(row.packs, 1 + effect, played.seed, row.unit, number) == 0
        for number, period in enumerate(history.periods)
        for row in period
    )
    assert history.rows - none_left <= result.events_in <= history.rows - (none_left > 0)
    assert_honest(result)
