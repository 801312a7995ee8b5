"""Thirty mistakes of a first hour: `design` refuses or warns of each before anything is published, none in silence."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controller.errors import InvalidExperiment, Problem
from flipside.cli import app
from tests.flipside.commands.shop import catalog, definition, entry, window, written


@dataclasses.dataclass
class Mistake:
    """One of the three files spoilt, and what must be said of it."""

    #: file whose line is named; the field as a problem spells it; a word of the rule or the way out
    where: str
    field: str
    words: str
    #: refused whatever is asked; otherwise a warning, and refused with --strict
    refused: bool
    body: Any = dataclasses.field(default_factory=definition)
    entries: list[Any] = dataclasses.field(default_factory=catalog)
    windows: list[Any] = dataclasses.field(default_factory=lambda: [window()])


def arms(**price: Any) -> list[dict[str, Any]]:
    return [{"name": "control"}, {"name": "dearer", "price": price}]


YAML_WITH_A_TYPO = """name: dearer
currency: EUR
select: {categories: [coffee, tea]}
arms:
- name: control
- name: dearer
  price: {percent: 5}
start: 2030-03-04
duration: 28
seed: a-seed
"""
D, C, B = "definition.yaml", "catalog.jsonl", "blackouts.jsonl"
GUARDED = definition(clusters="market", guardrails=[{"metric": "revenue", "tolerance": 10}])
MISTAKES: dict[str, Mistake] = {
    # the definition
    "five cents more, written as a price of five cents": Mistake(
        D, "arms[1].price.absolute_minor", "0.05 EUR", False, definition(arms=arms(absolute_minor=5))
    ),
    "five percent, written as a share": Mistake(
        D, "arms[1].price.percent", "5 % is written 5, not 0.05", False, definition(arms=arms(percent=0.05))
    ),
    "a cut of 45 percent": Mistake(
        D, "arms[1].price.percent", "above 30 %", False, definition(arms=arms(percent=-45))
    ),
    "a category misspelt": Mistake(
        D, "select.categories[0]", "did you mean coffee?", False, definition(select={"categories": ["coffe", "tea"]})
    ),
    "a market of the filter misspelt": Mistake(
        D, "select.markets[1]", "did you mean hamburg?", False,
        definition(select={"markets": ["berlin", "hambrug"]}),
    ),
    "another currency than the catalog's": Mistake(D, "currency", "use that one", True, definition(currency="USD")),
    "a start in the past": Mistake(D, "start", "start after", True, definition(start="2020-03-02")),
    "a field that does not exist": Mistake(D, "duration", "there is no such field", True, YAML_WITH_A_TYPO),
    "a percent sign in a number": Mistake(
        D, "arms[1].price.percent", "a number", True, definition(arms=arms(percent="5 %"))
    ),
    "a unit that the catalog does not have": Mistake(
        D, "units", "must be in the catalog", True, definition(select=None, units=["berlin/coffee", "berlin/cofee"])
    ),
    "a guardrail on three stores": Mistake(D, "guardrails[0]", "needs 3 clusters in each arm", False, GUARDED),
    "even weekdays on three stores": Mistake(
        D, "design.weekday_balance", "needs 2 clusters in each arm", False,
        definition(clusters="market", design={"kind": "random_days", "weekday_balance": True}),
    ),
    "a guardrail on a design that is looked at once": Mistake(
        D, "guardrails", "no guardrail watches it", False,
        definition(design={"kind": "time_bound"}, guardrails=[{"metric": "units"}]),
    ),
    # the catalog
    "a line that is no JSON": Mistake(C, "(document)", "JSON", True, entries=[*catalog(), "{unit: x}"]),
    "a price in euros": Mistake(
        C, "list_price_minor", "whole number", True, entries=catalog(berlin__tea={"list_price_minor": 2.79})
    ),
    "a price without its field": Mistake(
        C, "list_price_minor", "add it", True,
        entries=[*catalog(), {"unit": "berlin/rooibos", "time_zone": "Europe/Berlin", "currency": "EUR"}],
    ),
    "a time zone misspelt": Mistake(
        C, "time_zone", "zone", True, entries=catalog(berlin__tea={"time_zone": "Europe/Berlim"})
    ),
    "two zones in one market": Mistake(
        "", "markets[berlin].time_zone", "a market has one time zone", True,
        entries=catalog(berlin__tea={"time_zone": "Europe/Lisbon"}),
    ),
    "a unit on two lines": Mistake(
        C, "catalog[berlin/tea].unit", "the last of several", False,
        entries=[*catalog(), entry("berlin/tea", list_price_minor=289)],
    ),
    "a price a hundred times too high": Mistake(
        C, "catalog[berlin/tea].list_price_minor", "another unit", False,
        entries=catalog(berlin__tea={"list_price_minor": 27900}),
    ),
    "a cost above the price": Mistake(
        C, "catalog[berlin/tea].cost_minor", "below its list price", False,
        entries=catalog(berlin__tea={"cost_minor": 1390}),
    ),
    "a price of zero": Mistake(
        C, "catalog[berlin/tea].list_price_minor", "zero", False, entries=catalog(berlin__tea={"list_price_minor": 0})
    ),
    "a unit without its market": Mistake(
        C, "unit", "market/product", True, entries=[*catalog(), entry("berlin/tea", unit="tea")]
    ),
    "a floor above every arm": Mistake(
        D, "arms[1].price.percent", "below the floor", True, entries=catalog(berlin__tea={"floor_minor": 990})
    ),
    "an empty file": Mistake(D, "units", "needs units", True, entries=[]),
    # the blackouts
    "a blackout that is no JSON": Mistake(B, "(document)", "JSON", True, windows=[window(), "id: x"]),
    "it ends before it starts": Mistake(
        B, "ends_at", "ends after it starts", True, windows=[window(ends_at="2030-03-01T00:00:00+01:00")]
    ),
    "an instant without its zone": Mistake(
        B, "starts_at", "with its zone", True, windows=[window(starts_at="2030-03-08T00:00:00")]
    ),
    "a day that does not exist": Mistake(
        B, "starts_at", "an instant that exists", True, windows=[window(starts_at="2030-02-30T00:00:00Z")]
    ),
    "an unknown kind of scope": Mistake(
        B, "scope.kind", "one of", True, windows=[window(scope={"kind": "store", "name": "hamburg"})]
    ),
    "a field of a blackout that does not exist": Mistake(
        B, "from", "no such field", True, windows=[window(**{"from": "2030-03-08"})]
    ),
    "a market of a blackout misspelt": Mistake(
        B, "blackouts[stock].scope.name", "did you mean hamburg?", False,
        windows=[window(scope={"kind": "market", "name": "Hamburg"})],
    ),
    "a unit of a blackout misspelt": Mistake(
        B, "blackouts[stock].scope.name", "did you mean hamburg/tea?", False,
        windows=[window(scope={"kind": "unit", "name": "hamburg/tee"})],
    ),
    "no reason": Mistake(B, "reason", "say why", True, windows=[window(reason=" ")]),
    "a global window with a name": Mistake(
        B, "scope.name", "names nothing", True, windows=[window(scope={"kind": "global", "name": "all"})]
    ),
    "two windows of one id": Mistake(
        B, "blackouts[stock].id", "the last replaces", False,
        windows=[window(), window(starts_at="2030-03-20T00:00:00Z", ends_at="2030-03-21T00:00:00Z")],
    ),
    "a window of last year": Mistake(
        B, "blackouts[stock].ends_at", "the window is over", False,
        windows=[window(starts_at="2029-03-08T00:00:00Z", ends_at="2029-03-11T00:00:00Z")],
    ),
}  # fmt: skip


def run(arguments: list[str]) -> tuple[str, tuple[Problem, ...], int]:
    """What `design` prints, the problems that it refuses with, and its exit code."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is None:
        return done.output, (), done.exit_code
    assert isinstance(done.exception, InvalidExperiment), repr(done.exception)
    return done.output, done.exception.problems, 3


def test_the_list_has_ten_of_each_file() -> None:
    names = list(MISTAKES)
    first, second = names.index("a line that is no JSON"), names.index("a blackout that is no JSON")
    assert min(first, second - first, len(names) - second) >= 10


@pytest.mark.parametrize("name", MISTAKES)
def test_no_mistake_passes_in_silence(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    arguments = written(tmp_path, mistake.body, mistake.entries, mistake.windows)
    printed, refused, code = run(arguments)
    assert code == (3 if mistake.refused else 0), printed
    if not mistake.refused:
        _, refused, code = run([*arguments, "--strict"])
        assert code == 3
        for problem in refused:
            assert f"warning: {problem}" in printed.replace("\n", ""), "the warning is printed as it is refused"
    hits = [one for one in refused if one.field == mistake.field and mistake.words in f"{one.rule}; {one.way_out}"]
    assert hits, "\n".join(map(str, refused))
    (problem, *_) = hits
    assert problem.value
    assert problem.way_out
    if mistake.where:
        assert problem.where is not None
        absent = mistake.field == "units" and "units" not in mistake.body
        assert problem.where.startswith(mistake.where if absent else f"{mistake.where}, line ")


def test_the_sound_shop_earns_no_warning(tmp_path: Path) -> None:
    printed, refused, code = run([*written(tmp_path, definition(), catalog(), [window()]), "--strict"])
    assert (refused, code) == ((), 0)
    assert "warning" not in printed


def test_a_problem_of_a_definition_names_its_line(tmp_path: Path) -> None:
    _, (problem,), _ = run(
        written(tmp_path, YAML_WITH_A_TYPO.replace("duration", "days").replace("EUR", "USD"), catalog(), [])
    )
    assert (problem.where, problem.field) == ("definition.yaml, line 2", "currency")
    _, problems, _ = run(written(tmp_path, YAML_WITH_A_TYPO, catalog(), []))
    assert ("definition.yaml, line 9", "duration") in {(one.where, one.field) for one in problems}


def test_a_catalog_that_is_no_utf_8_is_refused_and_one_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    arguments = written(tmp_path, definition(), catalog(), [])
    text = (tmp_path / "catalog.jsonl").read_text()
    (tmp_path / "catalog.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run(arguments)[2] == 0
    (tmp_path / "catalog.jsonl").write_bytes(b"\xe4\n" + text.encode())
    _, (problem,), code = run(arguments)
    assert (code, problem.where, problem.way_out) == (3, "catalog.jsonl", "save it as such")
