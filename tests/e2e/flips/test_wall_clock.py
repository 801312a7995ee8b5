"""The product as it is installed: wall clock, settings from the environment, and every command of its life."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from controller.messages.topics import TOPICS
from controller.time.periods import day_start
from flipside_client import Assignments
from tests.e2e.flips.wall_clock_shop import FLOOR_MINOR, UNITS, Shop, last_json, shop, written
from tests.e2e.running import Servers, eventually, flipside
from tests.parts.ports import free_port

__all__ = ["shop"]

pytestmark = pytest.mark.broker


async def test_an_experiment_from_its_definition_to_the_prices_and_to_its_end(shop: Shop, tmp_path: Path) -> None:
    definition = shop.definition()
    submitted = last_json(await shop.run("experiment", "submit", written(tmp_path, definition), "--json"))
    due = day_start(date.fromisoformat(definition["start"]), shop.time_zone)
    announced = due - timedelta(minutes=definition["lead_minutes"])

    # Topics are made once, however often they are asked for.
    again = last_json(await shop.run("topics", "create", "--json"))
    assert (again["created"], len(again["existing"]), again["differing"]) == ([], len(TOPICS), [])

    (listed,) = last_json(await shop.run("experiment", "list", "--json"))
    assert (listed["experiment"], listed["design_hash"]) == ("prices", submitted["design_hash"])
    assert (listed["state"], listed["why"]) == ("scheduled", None)
    shown = await shop.run("experiment", "show", "prices")
    assert json.loads(shown.out)["design_hash"] == submitted["design_hash"]

    window = ["--starts", f"{shop.today}T00:00:00Z", "--ends", f"{shop.today + timedelta(days=400)}T00:00:00Z"]
    added = await shop.run("blackout", "add", "holidays", *window, "--reason", "sale season", "--unit", UNITS[0])
    assert added.code == 0, added.err
    assert [w["id"] for w in last_json(await shop.run("blackout", "list", "--json"))] == ["holidays"]
    removed = await shop.run("blackout", "remove", "holidays")
    assert removed.code == 0, removed.err
    assert last_json(await shop.run("blackout", "list", "--json")) == []

    async with Assignments(shop.settings.kafka, shop.settings.namespace) as client:

        async def held() -> bool:
            return all(client.assignment(unit, due) for unit in UNITS)

        await eventually("the assignments of tomorrow", held)
        assignments = [client.assignment(unit, due) for unit in UNITS]
        assert {a.arm for a in assignments if a is not None} == {"control", "cheaper"}
        prices = {(client.price(unit, due).arm, client.price(unit, due).price_minor) for unit in UNITS}
        assert prices == {("control", 1000), ("cheaper", 950)}
        # Before midnight nothing of it is shown.
        assert {client.arm(unit, datetime.now(UTC)) for unit in UNITS} == {None}
    assert announced <= datetime.now(UTC) < due

    stopped = await shop.run("experiment", "stop", "prices", "--reason", "seen enough")
    assert stopped.code == 0, stopped.err
    (listed,) = last_json(await shop.run("experiment", "list", "--json"))
    assert listed["state"] in ("stopping", "stopped")
    assert listed["why"].endswith("seen enough")


async def test_bad_definitions_are_refused_with_field_value_rule_and_way_out_and_nothing_changes(
    shop: Shop, tmp_path: Path
) -> None:
    far = str(shop.today + timedelta(days=10))
    good = shop.definition(start=far, units=list(UNITS[:2]), lead_minutes=60)
    before = last_json(await shop.run("experiment", "submit", written(tmp_path, good), "--json"))
    cases: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
        "unknown units": (
            {"units": ["north/cocoa", "south/tea"]},
            ("units", "north/cocoa", "in the catalog", "publish its catalog entry"),
        ),
        "overlap": ({"units": list(UNITS)}, ("units", "north/tea", "prices runs", "choose other units")),
        "past": (
            {"units": list(UNITS[2:]), "start": str(shop.today)},
            ("start", str(shop.today), "60 minutes before", "start after"),
        ),
        "floor": (
            {"units": list(UNITS[2:]), "arms": [{"name": "control"}, {"name": "low", "price": {"percent": "-20"}}]},
            ("arms[1].price", f"800 against {FLOOR_MINOR}", "below the floor", "milder price"),
        ),
        "one cluster": (
            {"units": list(UNITS[2:]), "clusters": "market"},
            ("clusters", "south", "at least two clusters", "cluster by product"),
        ),
        "unknown field": ({"unit": "north/tea"}, ("unit", "north/tea", "no such field", "did you mean `units`")),
    }
    for number, (what, (changed, words)) in enumerate(cases.items()):
        bad = {**good, "name": f"bad-{number}", **changed}
        said = await shop.run("experiment", "submit", written(tmp_path, bad))
        assert said.code == 3, f"{what}: {said.out}{said.err}"
        assert all(word in said.err for word in words), f"{what}: {said.err}"
        assert "Traceback" not in said.err
    (listed,) = last_json(await shop.run("experiment", "list", "--json"))
    assert listed["design_hash"] == before["design_hash"]


@pytest.mark.parametrize("part", ["kafka", "redis"])
async def test_a_part_that_does_not_answer_is_named_with_its_address(servers: Servers, part: str) -> None:
    port = free_port()
    address = {"kafka": f"127.0.0.1:{port}", "redis": f"redis://127.0.0.1:{port}/0"}[part]
    environment = {
        "FLIPSIDE_KAFKA": servers.kafka,
        "FLIPSIDE_REDIS": servers.redis,
        "FLIPSIDE_CONNECT_TIMEOUT_SECONDS": "1",
        f"FLIPSIDE_{part.upper()}": address,
    }
    said = await flipside("worker", **environment)
    assert said.code == 5
    last = said.err.splitlines()[-1]
    assert f"127.0.0.1:{port}" in last
    assert f"FLIPSIDE_{part.upper()}" in last
    assert "attempts" in last
    assert "Traceback" not in said.err
