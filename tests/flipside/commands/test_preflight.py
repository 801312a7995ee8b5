"""`flipside design` shows what will happen: units, prices in the currency's unit, and which days will not count."""

import json
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from controller.errors import FlipsideError
from flipside.cli import app
from tests.flipside.commands.shop import catalog, definition, window, written


def printed(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments)
    assert not isinstance(done.exception, FlipsideError), str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def preview(folder: Path, body: Any, entries: list[Any]) -> dict[str, Any]:
    out = printed([*written(folder, body, entries, []), "--json"])
    found = json.loads(out.strip().splitlines()[-1])["preview"]
    assert isinstance(found, dict)
    return found


def test_units_are_counted_by_market_cluster_and_arm(tmp_path: Path) -> None:
    found = preview(tmp_path, definition(clusters="product"), catalog())
    assert (found["units"], found["priced"]) == (12, 12)
    assert found["by_market"] == {"berlin": 4, "hamburg": 4, "munich": 4}
    assert found["by_cluster"] == {"coffee": 3, "espresso": 3, "mate": 3, "tea": 3}
    assert [arm["units_a_day"] for arm in found["arms"].values()] == [[6, 6], [6, 6]], "two of four products a day"


def test_each_arm_has_its_least_median_and_greatest_price_beside_the_regular_one(tmp_path: Path) -> None:
    found = preview(tmp_path, definition(), catalog())
    dearer = found["arms"]["dearer"]
    # 279, 349, 899, 1249 thrice; times 1.05: 292.95, 366.45, 943.95, 1311.45
    assert dearer["regular"] == ["2.79", "3.49", "12.49"]
    assert dearer["price"] == ["2.93", "3.66", "13.11"]
    assert (dearer["at_regular"], dearer["price_minor"]) == (0, [293, 366, 1311])
    text = printed(written(tmp_path, definition(), catalog(), []))
    assert "price 2.93 to 13.11 EUR (median 3.66), regular 2.79 to 12.49 EUR (median 3.49)" in text.replace("\n", " ")


def test_prices_that_round_back_are_counted_and_named(tmp_path: Path) -> None:
    found = preview(
        tmp_path, definition(arms=[{"name": "control"}, {"name": "b", "price": {"percent": 0.05}}]), catalog()
    )
    # 0.05 % of 12.49 is 0.62 cents, which rounds up to one; all others stay
    assert found["arms"]["b"]["at_regular"] == 9
    assert "9 of 12 units stay at their regular price" in {one["rule"] for one in found["warnings"]}


def test_what_only_the_running_system_can_check_is_named(tmp_path: Path) -> None:
    arguments = written(tmp_path, definition(), catalog(), [])
    assert "not checked: whether another experiment has these units at that time" in printed(arguments)
    assert json.loads(printed([*arguments, "--json"]).strip().splitlines()[-1])["not_checked"]


def test_a_definition_whose_start_is_past_says_how_to_lay_it_out_and_that_works(tmp_path: Path) -> None:
    past = definition(start="2020-03-02")
    arguments = written(tmp_path, past, catalog(), [])[:-2]
    done = CliRunner().invoke(app, arguments)
    (asked,) = re.findall(r"lay it out as of then: (--at \S+)", str(done.exception))
    printed([*arguments, *asked.split()])


def test_yen_have_no_cents(tmp_path: Path) -> None:
    entries = [one | {"currency": "JPY"} for one in catalog()]
    assert preview(tmp_path, definition(currency="JPY"), entries)["arms"]["control"]["price"] == ["279", "349", "1249"]


def explained(folder: Path, body: Any, windows: list[Any], cluster: str, day: str) -> dict[str, Any]:
    arguments = [*written(folder, body, catalog(), windows), "--explain", cluster, day, "--json"]
    found = json.loads(printed(arguments).strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_explain_says_that_a_day_under_a_blackout_does_not_count_and_names_the_window(tmp_path: Path) -> None:
    found = explained(tmp_path, definition(), [window()], "hamburg/tea", "2030-03-09")
    assert (found["counts"], found["blackouts"]) == (False, ["stock"])
    assert "blackout stock binds when the day begins" in found["why_left_out"]
    assert explained(tmp_path, definition(), [window()], "berlin/tea", "2030-03-09")["counts"] is True
    assert explained(tmp_path, definition(), [window()], "hamburg/tea", "2030-03-11")["counts"] is True


def test_explain_shows_the_arm_that_a_blackout_keeps(tmp_path: Path) -> None:
    days = [f"2030-03-{day:02d}" for day in (8, 9, 10)]
    found = [explained(tmp_path, definition(), [window()], "hamburg/tea", day) for day in days]
    before = explained(tmp_path, definition(), [window()], "hamburg/tea", "2030-03-07")["arm"]
    assert {one["held"] for one in found} == {before}


def test_explain_says_that_days_on_which_the_plan_has_everyone_on_control_do_not_count(tmp_path: Path) -> None:
    steps = [{"day": 8, "share": 0.5}]
    body = definition(design={"kind": "staggered_rollout", "steps": steps})
    found = explained(tmp_path, body, [], "berlin/tea", "2030-03-05")
    assert found["counts"] is False
    assert "every cluster on control" in found["why_left_out"]
    phases = [{"first_day": 1, "days": 10}, {"first_day": 19, "days": 10}]
    gap = explained(
        tmp_path, definition(design={"kind": "crossover", "phases": phases}), [], "berlin/tea", "2030-03-16"
    )
    assert gap["counts"] is False


def test_a_running_experiment_can_still_be_explained(tmp_path: Path) -> None:
    """Its start is past: registration's rule on starts is no rule of --explain."""
    body = definition(start="2020-03-02")
    assert explained(tmp_path, body, [], "berlin/tea", "2020-03-03")["arm"] in ("control", "dearer")
