"""The places of fields in the arrays that Lua and Python exchange are the same on both sides."""

import json
import re
from typing import Any

from controller.decisions.decide import Proposal
from streams.store.encoding import granted, held_text, held_unit, rows
from streams.store.redis.connection import HEADS, SCRIPTS
from streams.store.restore_port import HeldUnit

#: every field another value
HELD = HeldUnit("de/a", "juice.1", 20_000, "low", False, 1_000, 2_000, 90, 7, 3)
PROPOSED = Proposal("de/a", "juices", 1, (100, 90), planned_arm=0, detail="a limit", code="limit")


def places(prefix: str) -> dict[str, int]:
    """Field -> its place, counted from 0, as `layout.lua` has it."""
    found: dict[str, int] = {}
    for names, numbers in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", (SCRIPTS / "layout.lua").read_text(), re.M):
        pairs = zip(names.split(", "), numbers.split(", "), strict=True)
        found |= {name: int(number) - 1 for name, number in pairs}
    return {name.removeprefix(prefix).lower(): at for name, at in found.items() if name.startswith(prefix)}


def by_name(values: list[Any], prefix: str) -> dict[str, Any]:
    layout = places(prefix)
    assert sorted(layout.values()) == list(range(len(values)))
    return {name: values[at] for name, at in layout.items()}


def test_what_is_held_of_a_unit_lies_where_lua_reads_it() -> None:
    text = held_text(HELD)
    assert by_name(json.loads(text), "HELD_") == {
        "owner": "juice.1", "day": 20_000, "arm": "low", "on_control": False, "effective": 1_000, "expires": 2_000,
        "price": 90, "sequence": 7, "epoch": 3,
    }  # fmt: skip
    assert held_unit("de/a", text) == HELD


def test_what_is_proposed_for_a_unit_lies_where_lua_reads_it() -> None:
    (row,) = rows([PROPOSED])
    assert by_name(row, "ROW_") == {
        "unit": "de/a", "cluster": "juices", "arm": 1, "prices": [100, 90], "planned": 0, "detail": "a limit",
        "code": "limit",
    }  # fmt: skip


def test_what_was_granted_to_a_unit_is_read_where_lua_writes_it() -> None:
    layout = places("GRANT_")
    values: list[Any] = [None] * len(layout)
    sent = {
        "unit": "de/a", "cluster": "juices", "arm": "low", "planned": "control", "price": 90, "expires": 2_000,
        "code": "limit", "detail": "a limit", "sequence": 7,
    }  # fmt: skip
    for name, at in layout.items():
        values[at] = sent[name]
    found = granted(values)._asdict()
    assert {re.sub(r"_(minor|ms|arm)$", "", name): value for name, value in found.items()} == sent


def test_no_script_reads_those_arrays_by_number() -> None:
    for name in HEADS["layout"]:
        text = (SCRIPTS / f"{name}.lua").read_text()
        assert re.findall(r"\b(?:prev|row|state|new)\[\d+\]", text) == [], name
