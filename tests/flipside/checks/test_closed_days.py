"""`flipside verify --state` finds a store that holds less of closed days than the panel; late sales are no fault."""

from controller.messages.events import PeriodClosed, UnsoldUnits
from controller.outcomes.unsold_units import Part, packed
from flipside.checks.closed_days import differing
from streams.closing.unsold_restore import PanelDays
from tests.streams.builders import at, ordinal


def panel() -> PanelDays:
    found, day = PanelDays(), at(0).date()
    said = UnsoldUnits(market="de", day=day, part=0, zeros=("a",), revision=1)
    assert found.take_unsold(f"de/{day}/unsold/0".encode(), said.model_dump_json().encode())
    found.take_closing(
        PeriodClosed(
            market="de", day=day, watermark=at(1), offsets={}, unit_days=1, events=5, revised=0, revision=1, zeros=1,
            partition_events={"0": 5, "1": 0},
        )
    )  # fmt: skip
    return found


def fields(history: dict[str, str], unsold: dict[str, str]) -> list[str]:
    return [field for _, field, _, _ in differing(panel(), "de", ordinal(0), 7, history, unsold)]


def test_what_is_missing_or_older_is_named() -> None:
    day = str(ordinal(0))
    assert fields({}, {}) == ["events by partition", "unsold units"]
    assert fields({day: "0:4 1:0"}, {day: packed([Part(("a",))])}) == ["events by partition", "unsold units"]


def test_what_is_as_new_or_newer_is_no_difference() -> None:
    day = str(ordinal(0))
    assert fields({day: "0:5 1:0"}, {day: packed([Part(("a",), {}, 1)])}) == []
    assert fields({day: "0:6 1:0"}, {day: packed([Part(("a",), {}, 2)])}) == []
