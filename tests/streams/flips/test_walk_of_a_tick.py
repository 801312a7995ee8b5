"""A tick's way from its record to the store: which modules it enters, from where, and that the drawing shows it."""

import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from flipside.schemas import ROOT
from streams.flips import decider
from tests.chaos.faults.evening import evening

DECIDER = decider.__file__
#: what decides; beyond it lies the store
ROOMS = ("streams/flips/", "streams/control/", "controller/decisions/")
PAGE = ROOT / "docs/architecture.md"
STORE = ROOT / "streams/store/redis/store.py"
STEP = re.compile(r"^\| \d+ \| [^|]+ \| `([\w/.]+\.(?:py|lua))` \| `(\w+)` \|", re.MULTILINE)


@contextmanager
def calls_out_of(path: str) -> Iterator[dict[str, set[tuple[str, int]]]]:
    """Module -> the places (function, line) of a file from which it is entered while this is open."""
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def look(frame: FrameType, event: str, _: object) -> None:
        caller, code = frame.f_back, frame.f_code
        # A method is asked of a value that was made already: no module is entered for it.
        if event != "call" or caller is None or caller.f_code.co_filename != path or "." in code.co_qualname:
            return
        if code.co_filename != path and code.co_filename.startswith(str(ROOT)) and tick_of(caller):
            name = str(Path(code.co_filename).relative_to(ROOT))
            if name.startswith(ROOMS):
                found[name].add((caller.f_code.co_name, caller.f_lineno))

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)


def tick_of(frame: FrameType | None) -> FrameType | None:
    """The tick in which something is called; None for none."""
    while frame is not None:
        if frame.f_code.co_filename == DECIDER and frame.f_code.co_name == "tick":
            return frame
        frame = frame.f_back
    return None


def walks(drawn: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """For each tick of two days, the drawn steps that it takes, in the order in which it first takes them."""
    by_code = {(str(ROOT / file), function): (file, function) for file, function in drawn}
    ticks: dict[FrameType, list[tuple[str, str]]] = {}

    def look(frame: FrameType, event: str, _: object) -> None:
        step = by_code.get((frame.f_code.co_filename, frame.f_code.co_name))
        if event == "call" and step is not None and (tick := tick_of(frame)) is not None:
            taken = ticks.setdefault(tick, [])
            if step not in taken:
                taken.append(step)

    sys.setprofile(look)
    try:
        asyncio.run(evening())
    finally:
        sys.setprofile(None)
    return list(ticks.values())


def steps(heading: str) -> list[tuple[str, str]]:
    """File and function of each step of a drawn way."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return STEP.findall(section)


def test_a_tick_enters_no_module_more_than_twice_between_its_record_and_the_store() -> None:
    with calls_out_of(DECIDER) as found:
        asyncio.run(evening())
    often = {module: sorted(places) for module, places in found.items() if len(places) > 2}
    assert often == {}
    assert "streams/flips/market_state.py" in found


@pytest.mark.parametrize("heading", ["A flip's way", "A sale's way"])
def test_each_step_of_a_drawn_way_is_a_function_of_its_file(heading: str) -> None:
    drawn = steps(heading)
    assert len(drawn) >= 6
    for file, function in drawn:
        if file.endswith(".lua"):
            # A script is one function: it bears the name by which the store runs it.
            assert Path(file).stem == function
            assert (ROOT / file).is_file()
            assert re.search(rf'_run(?:_all)?\(\s*"{function}"', STORE.read_text()), f"the store never runs {function}"
        else:
            defined = rf"^\s*(?:async )?def {function}\("
            assert re.search(defined, (ROOT / file).read_text(), re.MULTILINE), f"{file} has no {function}"


def test_the_drawn_way_of_a_flip_names_every_module_that_a_tick_enters() -> None:
    with calls_out_of(DECIDER) as found:
        asyncio.run(evening())
    drawn = {file for file, _ in steps("A flip's way")}
    data = {"streams/flips/shard.py", "streams/control/overrides.py"}  # values that steps read, no step of their own
    assert {module for module in found if module.startswith("streams/flips/")} - drawn - data == set()


def test_every_tick_takes_the_drawn_steps_in_the_drawn_order() -> None:
    drawn = steps("A flip's way")
    found = walks(drawn)
    assert len(found) == 4
    for taken in found:
        assert taken == [step for step in drawn if step in taken]
    # Scripts run in the server, and the relay publishes after the tick.
    within = {(file, function) for file, function in drawn if file.endswith(".py") and "/outputs/" not in file}
    assert {step for taken in found for step in taken} == within
