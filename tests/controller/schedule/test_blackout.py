"""Blackouts: half-open windows over everything, a market, a cluster or one unit."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.messages.inputs import Blackout, Scope
from controller.schedule.blackout import binding, covers

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def a_blackout(kind: str = "global", name: str = "", start: int = 0, end: int = 10, ident: str = "b") -> Blackout:
    return Blackout(
        id=ident,
        scope=Scope(kind=kind, name=name),  # type: ignore[arg-type]
        starts_at=NOON + timedelta(hours=start),
        ends_at=NOON + timedelta(hours=end),
        reason="inventory",
    )


@pytest.mark.parametrize(
    ("kind", "name", "covered"),
    [
        ("global", "", True),
        ("market", "m0", True),
        ("market", "m1", False),
        ("cluster", "p1", True),
        ("cluster", "m0", False),
        ("unit", "m0/p1", True),
        ("unit", "m0/p2", False),
    ],
)
def test_a_scope_covers_what_it_names(kind: str, name: str, covered: bool) -> None:
    assert covers(a_blackout(kind, name), "m0/p1", "p1") is covered


def test_a_window_binds_from_its_first_instant_up_to_but_not_at_its_last() -> None:
    window, second = a_blackout(), timedelta(microseconds=1)
    assert binding([window], "m0/p1", "p1", window.starts_at) is window
    assert binding([window], "m0/p1", "p1", window.starts_at - second) is None
    assert binding([window], "m0/p1", "p1", window.ends_at - second) is window
    assert binding([window], "m0/p1", "p1", window.ends_at) is None


windows = st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 9), st.sampled_from("abcdef")), max_size=6)


@given(windows, st.integers(-12, 20), st.randoms())
def test_the_binding_window_is_the_last_to_end_whatever_order_they_come_in(
    spans: list[tuple[int, int, str]], hour: int, chance: object
) -> None:
    blackouts = [a_blackout(start=s, end=s + length, ident=f"{name}{k}") for k, (s, length, name) in enumerate(spans)]
    instant = NOON + timedelta(hours=hour)
    found = binding(blackouts, "m0/p1", "p1", instant)
    chance.shuffle(blackouts)  # type: ignore[attr-defined]
    assert binding(blackouts, "m0/p1", "p1", instant) == found
    open_ones = [b for b in blackouts if b.starts_at <= instant < b.ends_at]
    assert (found is None) == (not open_ones)
    assert found is None or found.ends_at == max(b.ends_at for b in open_ones)
