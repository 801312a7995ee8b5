"""Who may write switches and windows fills no store with them, and keeps nobody from the switches that are needed."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import FlipsideError, InvalidBlackout
from controller.messages.control import Kill
from controller.messages.inputs import Blackout, Scope
from controller.validation.quotas import MOST_SWITCHES, MOST_WINDOWS, room_for_switch, room_for_window

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MARKETS, EXPERIMENTS = {"de", "fr"}, {"juice"}


def switch(id: str, scope: str, name: str, *, lifted: bool = False) -> Kill:
    said = {"id": id, "scope": scope, "name": name, "lifted": lifted, "who": "eve", "why": "flood"}
    return Kill.model_validate({**said, "requested_at": NOW})


def window(id: str, ends_at: datetime = NOW + timedelta(days=1)) -> Blackout:
    scope = Scope(kind="global", name="")
    return Blackout(id=id, scope=scope, starts_at=NOW - timedelta(days=9), ends_at=ends_at, reason="x")


def flooded() -> dict[str, Kill]:
    """What stands after a flood: everything that was taken of four ways to invent a switch."""
    held: dict[str, Kill] = {}
    for number in range(MOST_SWITCHES // 4 + 10):
        for one in (
            switch(f"market.nowhere-{number}", "market", f"nowhere-{number}"),
            switch(f"market.gone-{number}", "market", f"gone-{number}", lifted=True),
            switch(f"experiment.none-{number}", "experiment", f"none-{number}"),
            switch(f"another-{number}", "market", "de", lifted=bool(number % 2)),
        ):
            try:
                room_for_switch(one, held, MARKETS, EXPERIMENTS)
            except FlipsideError:
                continue
            held[one.id] = one
    return held


def test_a_flood_of_switches_fills_only_its_quota() -> None:
    assert len(flooded()) == MOST_SWITCHES


def test_behind_a_flood_every_market_experiment_and_everything_can_be_killed_and_lifted() -> None:
    held = flooded()
    for lifted in (False, True):
        for one in (
            switch("all", "all", "", lifted=lifted),
            switch("market.de", "market", "de", lifted=lifted),
            switch("experiment.juice", "experiment", "juice", lifted=lifted),
        ):
            room_for_switch(one, held, MARKETS, EXPERIMENTS)
            held[one.id] = one


def test_a_switch_that_is_held_can_be_lifted_in_a_full_store() -> None:
    held = flooded()
    first = next(iter(held.values()))
    room_for_switch(first.model_copy(update={"lifted": True}), held, MARKETS, EXPERIMENTS)


def test_one_too_many_is_refused_with_the_rule_and_the_way_out() -> None:
    with pytest.raises(FlipsideError) as refused:
        room_for_switch(switch("mine", "market", "es"), flooded(), MARKETS, EXPERIMENTS)
    said = str(refused.value)
    assert "'mine'" in said or '"mine"' in said
    assert f"{MOST_SWITCHES} are the most" in said
    assert "market.es" in said, "the id under which it is taken once the market is known"


def test_a_window_too_many_is_refused_and_names_one_that_is_over() -> None:
    held = {f"w{number}": window(f"w{number}") for number in range(MOST_WINDOWS - 1)}
    room_for_window(window("last"), held, NOW)
    held["old"] = window("old", NOW - timedelta(days=2))
    with pytest.raises(InvalidBlackout, match=f"{MOST_WINDOWS} windows are the most, .* 1 of them over") as refused:
        room_for_window(window("more"), held, NOW)
    assert "old" in str(refused.value)
    room_for_window(window("w7"), held, NOW)
    del held["old"]
    room_for_window(window("more"), held, NOW)
