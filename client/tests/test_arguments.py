"""Arguments that look right and would show control for ever: refused, with what to write instead."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from client.tests.builders import UNIT, at, wire
from flipside_client import Assignments, Fold, WrongInstant
from flipside_client.sync import SyncAssignments

NOBODY = "127.0.0.1:9"
NOW_SECONDS = 1_772_409_600


@pytest.mark.parametrize("client", [Assignments, SyncAssignments])
def test_a_string_of_markets_is_refused_and_the_set_is_written_out(client: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"markets = 'store-1'.*write markets=\{'store-1'\}"):
        client(NOBODY, markets="store-1")


@pytest.mark.parametrize(
    ("markets", "error", "words"),
    [
        ([1], TypeError, "names of markets are texts"),
        (["berlin/tea"], ValueError, "the part of a unit before the slash"),
        ([""], ValueError, "the part of a unit before the slash"),
    ],
)
def test_whatever_can_be_no_market_is_refused_by_its_value(
    markets: list[Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Assignments(NOBODY, markets=markets)


@pytest.mark.parametrize("ask", ["arm", "price", "assignment", "announced"])
@pytest.mark.parametrize(
    ("now", "words"),
    [
        (NOW_SECONDS, "looks like seconds"),
        (NOW_SECONDS * 1_000_000, "microseconds or nanoseconds"),
        (NOW_SECONDS * 1_000_000_000, "microseconds or nanoseconds"),
        (-1, "no instant"),
        (0, "looks like seconds"),
    ],
)
def test_an_int_of_another_unit_is_refused_and_never_control(ask: str, now: int, words: str) -> None:
    fold = Fold()
    fold.take(UNIT.encode(), wire(1))
    with pytest.raises(WrongInstant, match=words):
        getattr(fold, ask)(UNIT, now)


def test_milliseconds_and_datetimes_of_today_and_of_replayed_years_are_taken() -> None:
    fold = Fold()
    fold.take(UNIT.encode(), wire(1))
    assert fold.arm(UNIT, int(at(1).timestamp() * 1000)) == fold.arm(UNIT, at(1)) == "low"
    assert fold.arm(UNIT, datetime(1989, 9, 14, tzinfo=UTC)) is None
    assert fold.arm(UNIT, int(datetime(1989, 9, 14, tzinfo=UTC).timestamp()) * 1000) is None
