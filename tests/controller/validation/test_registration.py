"""Registration: what an owner wrote becomes an experiment that can run, or every reason why it cannot."""

import json
from dataclasses import asdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from controller.definition.experiment import (
    Arm,
    CatalogFilter,
    Experiment,
    Market,
    PriceRule,
    design_hash,
    seed_commitment,
    with_seed,
    withheld,
)
from controller.errors import InvalidExperiment, Problem
from controller.time.periods import day_start
from controller.validation.registration import parse, register, resolve
from tests.controller.builders import BEFORE, START, a_catalog, an_entry, an_experiment


def refusal(experiment: Experiment, **given: Any) -> tuple[Problem, ...]:
    fields: dict[str, Any] = {"catalog": a_catalog(), "others": (), "now": BEFORE, **given}
    with pytest.raises(InvalidExperiment) as caught:
        register(experiment, **fields)
    said = [asdict(problem) | {"where": "no file"} for problem in caught.value.problems]
    assert all(all(problem.values()) for problem in said), "field, value, rule and way out"
    return caught.value.problems


def the(problems: tuple[Problem, ...], field: str) -> Problem:
    (found,) = [problem for problem in problems if problem.field == field]
    return found


def test_a_sound_experiment_is_registered_with_sorted_units_and_its_markets_clocks() -> None:
    shuffled = an_experiment(units=("m1/p0", "m0/p1", "m0/p0", "m1/p1"), markets=())
    registered = register(shuffled, a_catalog(), (), BEFORE)
    assert registered.units == ("m0/p0", "m0/p1", "m1/p0", "m1/p1")
    assert registered.markets == tuple(Market(name=m, time_zone="America/Chicago") for m in ("m0", "m1"))
    assert register(registered, a_catalog(), (), BEFORE) == registered, "registering again changes nothing"


def test_units_are_selected_from_the_catalog() -> None:
    select = CatalogFilter(markets=("m1",), products=("p0", "p2"))
    assert resolve(an_experiment(units=(), select=select), a_catalog()).units == ("m1/p0", "m1/p2")
    juice = a_catalog() | {"m0/p1": an_entry("m0/p1", category="juice")}
    assert resolve(an_experiment(units=(), select=CatalogFilter(categories=("juice",))), juice).units == ("m0/p1",)


def test_unknown_units_are_named() -> None:
    problem = the(refusal(an_experiment(units=("m0/p0", "m0/p1", "m0/ghost"))), "units")
    assert problem.value == "m0/ghost"
    assert "catalog" in problem.rule


def test_many_offenders_are_counted_and_a_few_named() -> None:
    problem = the(refusal(an_experiment(2, 9), catalog=a_catalog(1, 3)), "units")
    assert problem.value == "m0/p3, m0/p4, m0/p5, m0/p6, m0/p7 and 10 more"


def test_units_of_another_experiment_at_the_same_time_are_refused() -> None:
    other = an_experiment(name="other", units=("m0/p0", "m1/p2"))
    problem = the(refusal(an_experiment(), others=[other]), "units")
    assert "other runs 2026-03-02 to 2026-03-16" in problem.rule
    assert "m0/p0" in problem.value


def test_clusters_of_another_experiment_at_the_same_time_are_refused() -> None:
    mine = an_experiment(units=("m0/p0", "m0/p1"), clusters="product")
    other = an_experiment(name="other", units=("m1/p1", "m1/p2"), clusters="product")
    assert the(refusal(mine, others=[other]), "clusters").value == "p1"


def test_one_after_the_other_they_may_share_units() -> None:
    after = an_experiment(name="other", start=START + timedelta(days=14))
    assert register(an_experiment(), a_catalog(), [after], BEFORE).name == "oj-2026"


def test_a_start_whose_assignments_would_be_late_is_refused() -> None:
    announced = day_start(START, "America/Chicago") - timedelta(minutes=60)
    assert register(an_experiment(), a_catalog(), (), announced).start == START
    problem = the(refusal(an_experiment(), now=announced + timedelta(microseconds=1)), "start")
    assert "2026-03-02" in problem.value


@pytest.mark.parametrize(("rule", "words"), [("-40", "below the floor"), ("40", "above the ceiling")])
def test_a_price_outside_the_catalogs_limits_is_refused_with_both_numbers(rule: str, words: str) -> None:
    arms = (Arm(name="control"), Arm(name="bold", price=PriceRule(percent=Decimal(rule))))
    problem = the(refusal(an_experiment(arms=arms)), "arms[1].price.percent")
    assert words in problem.rule
    assert "m0/p0 (180 against 200)" in problem.value or "m0/p0 (420 against 400)" in problem.value


def test_fewer_than_two_clusters_are_refused() -> None:
    assert "at least two clusters" in the(refusal(an_experiment(1, 3, clusters="market")), "clusters").rule


def test_no_units_at_all_is_one_clear_problem() -> None:
    problems = refusal(an_experiment(units=(), select=CatalogFilter(markets=("nowhere",))))
    assert [problem.field for problem in problems] == ["units"]


def test_a_version_that_is_not_newer_is_refused_and_a_newer_one_may_share_its_own_units() -> None:
    running = an_experiment(version=2)
    assert "use version 3" in the(refusal(an_experiment(), others=[running]), "version").way_out
    assert register(an_experiment(version=3), a_catalog(), [running], BEFORE).version == 3


def test_a_version_that_jumps_is_refused_so_that_a_name_does_not_run_out_of_versions() -> None:
    running = an_experiment(version=20261124)
    problem = the(refusal(an_experiment(version=2**31 - 1), others=[running]), "version")
    assert "use version 20261125" in problem.way_out
    assert register(an_experiment(version=20271231), a_catalog(), [running], BEFORE).version == 20271231


@pytest.mark.parametrize(
    ("clusters", "rule"),
    [
        ({"a": ("m0/p0",), "b": ("m0/p0", "m0/p1")}, "each unit is in one cluster"),
        ({"a": ("m0/p0",), "b": ()}, "each unit is in one cluster"),
        ({"a": ("m0/p0",), "b": ("m0/p1", "m9/p9")}, "clusters hold units of this experiment"),
        ({"a": ("m0/p0",), "b": ("m0/p1",), "c": ()}, "a cluster has at least one unit"),
    ],
)
def test_named_clusters_hold_each_unit_once_and_no_others(clusters: dict[str, tuple[str, ...]], rule: str) -> None:
    problems = refusal(an_experiment(units=("m0/p0", "m0/p1"), clusters=clusters))
    assert rule in [problem.rule for problem in problems]


def test_one_market_with_two_clocks_in_the_catalog_is_refused() -> None:
    catalog = a_catalog() | {"m0/p1": an_entry("m0/p1", time_zone="America/New_York")}
    assert "one time zone" in the(refusal(an_experiment(), catalog=catalog), "markets[m0].time_zone").rule


def test_a_zone_that_does_not_exist_is_refused() -> None:
    for zone in (
        "Mars/Olympus",
        "Europe/Berln",
        "../../etc/passwd",
        "America",
        "",
        "Europe/Berlin\x00",
        "/etc/localtime",
    ):
        with pytest.raises(ValidationError):
            a_catalog(time_zone=zone)
        with pytest.raises(ValidationError):
            Market(name="m0", time_zone=zone)


def test_a_delisted_unit_and_a_wrong_currency_are_refused() -> None:
    catalog = a_catalog(currency="EUR") | {"m0/p1": an_entry("m0/p1", currency="EUR", delisted=True)}
    problems = refusal(an_experiment(), catalog=catalog)
    assert the(problems, "units").value == "m0/p1"
    assert the(problems, "currency").value == "USD"


def test_all_broken_rules_are_listed_at_once_and_nothing_is_changed() -> None:
    broken = an_experiment(
        units=("m0/p0", "m0/p0", "m0/ghost"),
        clusters="market",
        start=date(2020, 1, 1),
        arms=(Arm(name="a"), Arm(name="a", price=PriceRule(absolute_minor=1))),
    )
    catalog, before = a_catalog(), a_catalog()
    others = [an_experiment(name="other", start=date(2020, 1, 1))]
    problems = refusal(broken, catalog=catalog, others=others)
    assert {p.field for p in problems} == {"units", "clusters", "arms", "start", "arms[1].price.absolute_minor"}
    assert len([p for p in problems if p.field == "units"]) == 3, "repeated, unknown, and another experiment's"
    assert catalog == before


def test_strata_by_category_are_filled_in_from_the_catalog() -> None:
    catalog = {u: an_entry(u, category="juice" if u.endswith("0") else "milk") for u in an_experiment().units}
    experiment = an_experiment(balance={"strata": "category"})
    assert register(experiment, catalog, (), BEFORE).balance.strata == {
        "juice": ("m0/p0", "m1/p0"),
        "milk": ("m0/p1", "m0/p2", "m1/p1", "m1/p2"),
    }
    assert "categories" in the(refusal(experiment), "balance.strata").way_out


def test_margin_guardrails_and_limits_ask_for_costs() -> None:
    experiment = an_experiment(guardrails=({"metric": "margin"},), limits={"min_margin_percent": Decimal(5)})
    fields = {problem.field for problem in refusal(experiment)}
    assert {"guardrails[0].metric", "limits.min_margin_percent"} <= fields


# --- documents -------------------------------------------------------------------------------------------------------


def test_a_definition_survives_its_own_json() -> None:
    experiment = an_experiment()
    assert parse(experiment.model_dump_json()) == experiment


def test_every_wrong_field_of_a_document_is_named_at_once_with_a_way_out() -> None:
    body = an_experiment().model_dump(mode="json")
    body |= {"days": "14", "currency": "usd", "untis": [], "start": "2026-02-30"}
    del body["seed"]
    with pytest.raises(InvalidExperiment) as caught:
        parse(json.dumps(body))
    problems = caught.value.problems
    assert {p.field for p in problems} == {"days", "currency", "untis", "start", "seed"}
    assert the(problems, "untis").way_out == "did you mean `units`? Otherwise remove it"
    assert the(problems, "seed").way_out == "add it"
    assert "YYYY-MM-DD" in the(problems, "start").way_out
    assert not any("schema" in p.way_out for p in problems)


def test_a_thousand_bad_units_are_ten_problems_and_a_count() -> None:
    body = an_experiment().model_dump(mode="json") | {"units": ["no slash"] * 1000}
    with pytest.raises(InvalidExperiment) as caught:
        parse(json.dumps(body))
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1].value == "990 more"


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_the_hash_does_not_depend_on_the_order_in_which_things_were_written() -> None:
    one = an_experiment(clusters={"a": ("m0/p0", "m0/p1"), "b": ("m1/p0",)}, units=("m0/p0", "m0/p1", "m1/p0"))
    other = an_experiment(clusters={"b": ("m1/p0",), "a": ("m0/p1", "m0/p0")}, units=("m1/p0", "m0/p1", "m0/p0"))
    assert design_hash(one) == design_hash(other)


@pytest.mark.parametrize("change", [{"days": 15}, {"seed": "8"}, {"version": 2}, {"lead_minutes": 30}])
def test_any_change_of_what_defines_the_design_changes_its_hash(change: dict[str, Any]) -> None:
    assert design_hash(an_experiment(**change)) != design_hash(an_experiment())


def test_a_withheld_seed_leaves_the_hash_as_it_is_and_only_the_seed_itself_fits_it() -> None:
    experiment = an_experiment(seed="rosebud")
    published = withheld(experiment)
    assert "rosebud" not in published.model_dump_json()
    assert design_hash(published) == design_hash(experiment)
    assert seed_commitment(published.seed) == seed_commitment("rosebud")
    assert with_seed(published, "rosebud") == experiment
    with pytest.raises(ValueError, match="committed"):
        with_seed(published, "Rosebud")
    assert "commitment" in the(refusal(published), "seed").rule
