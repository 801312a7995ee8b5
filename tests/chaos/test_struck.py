"""The last line: whatever goes wrong for one record, one market or one experiment, the others go on as ever."""

import asyncio

import pytest

from tests.chaos.faults.evening import MARKETS, evening
from tests.chaos.faults.strikes import PLACES, STRUCK, Place, Planted, Strike
from tests.chaos.faults.struck import BEFORE_KILL, calm_evening, judged


@pytest.mark.parametrize("place", PLACES, ids=[place.name for place in PLACES])
def test_an_error_that_nobody_foresaw_stops_one_market_and_no_other(place: Place) -> None:
    assert judged(place) == []


def test_without_any_error_nothing_is_set_aside_and_the_struck_market_shows_arms() -> None:
    calm = calm_evening()
    assert (calm.set_aside(), calm.failed_letters()) == ([], [])
    assert "cheap" in calm.shown(STRUCK, BEFORE_KILL).values()


def test_an_error_in_every_market_ends_the_worker() -> None:
    class Everywhere(Strike):
        """Any market is meant."""

        def mentions(self, said: object) -> bool:
            return any(f"{market}/" in repr(said) for market in MARKETS)

    with pytest.raises(Planted):
        asyncio.run(evening(Everywhere("streams.flips.decider:_flip_all", "flip_all")))
