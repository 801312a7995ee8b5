"""Who responds in a running experiment: planted effects lie inside, whatever the design; else there is a reason."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from analysis.export.tables import tables_of
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.definition.parameters import BlockedSwitchback, TimeBound
from controller.messages.events import UnitDay
from tests.analysis.traffic import START, assignments, closing, experiment, registered, unit_day

FOOD, TOYS = -0.05, -0.35


def sold(definition: Experiment, before: int = 0, attributes: dict[str, Any] | None = None) -> list[Message]:
    """An experiment in which every second product is a toy, and toys respond seven times as much."""
    rng = np.random.default_rng(3)
    toys = np.array([int(unit[-1]) % 2 == 1 for unit in definition.units])
    given = {"category": tuple(np.where(toys, "toys", "food").tolist())} if attributes is None else attributes
    level = rng.lognormal(3, 0.7, len(toys))
    drawn = {(one.unit, one.day): one for one in assignments(definition)}
    said: list[Message] = [registered(definition).model_copy(update={"attributes": given})]
    for k in range(-before, definition.days):
        day = definition.start + timedelta(days=k)
        shock, of_toys = rng.lognormal(0, 0.2), rng.lognormal(0, 0.1)
        for number, unit in enumerate(definition.units):
            one = drawn.get((unit, day))
            factor = 1.0 if one is None or one.arm == "control" else 1.0 + (TOYS if toys[number] else FOOD)
            mean = level[number] * shock * (of_toys if toys[number] else 1.0) * rng.lognormal(0, 0.1) * factor
            said += [] if one is None else [one]
            said.append(unit_day(definition, unit, day, int(rng.poisson(mean))))
        said += [closing(definition, market, day) for market in definition.units_by_market()]
    return said


def rows(said: list[Message], metric: str = "units") -> list[dict[str, Any]]:
    return [row for row in tables_of(said)["responses"].to_pylist() if row["metric"] == metric]


SWITCHBACK = BlockedSwitchback(kind="blocked_switchback", block_days=3)
PARALLEL = TimeBound(kind="time_bound")
DESIGNS: dict[str, Callable[[], list[Message]]] = {
    "random days by market": lambda: sold(experiment(markets=16, products=4, days=28)),
    "one market that flips as a whole": lambda: sold(experiment(markets=1, products=8, days=84)),
    "a switchback of one market": lambda: sold(
        experiment(
            markets=1,
            products=8,
            days=120,
            design=SWITCHBACK,
            carryover_order=1,
        )
    ),
    "parallel from a start": lambda: sold(experiment(markets=40, products=2, days=21, design=PARALLEL), before=28),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_both_categories_are_shown_with_the_truth_inside(design: str) -> None:
    found = rows(DESIGNS[design]())
    levels = {row["name"]: row for row in found if row["part"] == "level"}
    for name, truth in (("category = food", FOOD), ("category = toys", TOYS)):
        assert levels[name]["low"] <= truth <= levels[name]["high"]
    named = {row["name"] for row in found if row["named"]}
    assert named
    assert named <= {"category = food", "category = toys"}
    assert {row["planned_day"] for row in found} == {max(row["day"] for row in found)}


def test_a_market_that_flips_as_a_whole_says_that_blocks_are_compared() -> None:
    found = rows(DESIGNS["one market that flips as a whole"]())
    (average,) = (row for row in found if row["part"] == "average")
    assert (average["units"], average["clusters"]) == (8, 84)
    assert any("blocks of days are compared" in note for note in average["notes"])


def test_the_ten_clusters_are_those_without_which_the_published_effect_moves_most() -> None:
    definition = experiment(markets=16, products=4, days=14)
    whole = tables_of(sold(definition))
    carriers = [row for row in whole["influence"].to_pylist() if row["metric"] == "units"]
    assert [row["rank"] for row in carriers] == list(range(1, 11))
    moves = [abs(row["move"]) for row in carriers]
    assert moves == sorted(moves, reverse=True)
    assert carriers[0]["effect"] - carriers[0]["effect_without"] == pytest.approx(carriers[0]["move"])


BAD: dict[str, tuple[Callable[[], list[Message]], str]] = {
    "one value": (
        lambda: sold(experiment(markets=8, products=2), attributes={"category": ("all",) * 16}),
        "no attribute can make groups: category is the same for all units",
    ),
    "ten thousand levels": (
        lambda: sold(experiment(markets=8, products=100, days=4), attributes={"id": tuple(range(800)),
            "name": tuple(f"n{k}" for k in range(800))}),
        "name has 600 levels, at most 64",
    ),
    "five draws of one market": (
        lambda: sold(experiment(markets=1, products=8, days=5)),
        "5 clusters .or blocks of days. were compared: who responds cannot be told below 6",
    ),
    "no day before the start": (
        lambda: sold(experiment(markets=40, products=2, days=14, design=PARALLEL)),
        "no unit sold on 7 days before the start",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_told_stands_with_its_reason(bad: str) -> None:
    said, words = BAD[bad]
    found = rows(said())
    text = " ".join(str(row["reason_absent"]) + " ".join(row["notes"] or ()) for row in found)
    assert re.search(words, text), text


def test_units_without_attributes_are_in_no_group_and_are_counted() -> None:
    definition = experiment(markets=16, products=4, days=14)
    given = tuple(None if k < 5 else "toys" if int(u[-1]) % 2 else "food" for k, u in enumerate(definition.units))
    found = rows(sold(definition, attributes={"category": given}))
    assert any("category is not known of 5 of 64 units" in note for note in found[0]["notes"])
    assert {row["units"] for row in found if row["part"] == "level"} == {29, 30}


def test_an_experiment_without_attributes_has_no_rows_and_the_same_carriers() -> None:
    tables = tables_of(sold(experiment(markets=8, products=2), attributes={}))
    assert tables["responses"].num_rows == 0
    assert tables["influence"].num_rows == 3 * 8


def test_a_unit_that_sold_nothing_has_no_level_and_is_counted() -> None:
    said = [
        m.model_copy(update={"quantity": 0, "revenue_minor": 0, "cost_minor": 0})
        if isinstance(m, UnitDay) and m.unit == "m00/p0" else m
        for m in sold(experiment(markets=16, products=4, days=14))
    ]  # fmt: skip
    assert any("1 unit(s) sold nothing" in note for note in rows(said)[0]["notes"])
    assert START.year == 2026
