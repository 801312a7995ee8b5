"""Price limits, guardrails and the catalog: what keeps prices safe while an experiment runs."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decisions.catalog_changes import changes, react
from controller.decisions.decide import decide
from controller.decisions.guardrails import BlockDifference, Verdict, look, mixing, worst
from controller.decisions.limits import breach, keep_within, lowest_price
from controller.decisions.roster import roster
from controller.definition.parameters import Guardrail, Limits
from controller.errors import NotEstimable
from controller.schedule.due import MarketPlan
from controller.time.periods import day_start
from controller.validation.price_rules import PriceChange, static_breach
from tests.controller.builders import START, a_catalog, an_entry, an_experiment

MIDNIGHT = day_start(START, "America/Chicago")
DAY = timedelta(days=1)


def limits(**rules: Any) -> Limits:
    given: dict[str, Any] = {name: Decimal(v) if isinstance(v, str) else v for name, v in rules.items()}
    return Limits(**given)


def past(*steps: tuple[float, int]) -> tuple[PriceChange, ...]:
    """Price changes so many days before MIDNIGHT."""
    return tuple(PriceChange(MIDNIGHT - days * DAY, price) for days, price in steps)


@pytest.mark.parametrize(
    ("rules", "entry", "price", "words"),
    [
        ({}, {"floor_minor": 270}, 269, "below the floor"),
        ({}, {"ceiling_minor": 330}, 331, "above the ceiling"),
        ({"min_margin_percent": "25"}, {"cost_minor": 216}, 269, "25 % above cost"),  # 216 x 1.25 = 270
        ({"min_margin_percent": "25"}, {}, 269, "needs a known cost"),
        ({"max_off_list_percent": "10"}, {}, 269, "within 10 % of the list price"),
        ({"max_change_percent": "11"}, {}, 270, "within 11 % of control, there and back"),  # 30 / 270 is more
    ],
)
def test_a_price_that_breaks_a_limit_is_named_with_the_rule(
    rules: dict[str, Any], entry: dict[str, Any], price: int, words: str
) -> None:
    found = static_breach(limits(**rules), an_entry("m0/p0", **entry), 300, price)
    assert found is not None
    assert words in str(found)
    milder = static_breach(limits(**rules), an_entry("m0/p0", **entry | {"cost_minor": 200}), 300, 280)
    assert milder is None


def test_control_knows_floor_and_ceiling_only() -> None:
    strict, entry = limits(max_off_list_percent="1", min_margin_percent="900"), an_entry("m0/p0", cost_minor=299)
    assert static_breach(strict, entry, 300, 310, control=True) is None
    assert static_breach(strict, entry, 300, 401, control=True) is not None


@pytest.mark.parametrize(
    ("rules", "history", "price", "words"),
    [
        ({"max_change_percent": "10"}, past((3, 320)), 280, "of the last price"),  # 40 / 280
        ({"max_changes_a_week": 4}, past((6, 270), (5, 300), (4, 270)), 300 - 25, "3 were made"),
        ({"max_changes_a_week": 4}, past((7, 270), (5, 300), (4, 270)), 275, None),  # the first is a week old
        ({"max_changes_a_week": 4}, past((6, 270), (5, 300), (4, 270)), 270, None),  # no change at all
        ({"lowest_price_factor": "1.1"}, past((20, 250), (19, 300)), 280, "1.1 times the lowest price"),
        ({"lowest_price_factor": "1.1"}, past((40, 250), (31, 300)), 280, None),
        ({"lowest_price_factor": "1.1", "lowest_price_days": 60}, past((40, 250), (31, 300)), 280, "60 days"),
        ({"lowest_price_factor": "1.1"}, past((40, 250), (29, 300)), 280, "lowest"),  # in force when the window began
    ],
)
def test_limits_with_a_memory(rules: dict[str, Any], history: Any, price: int, words: str | None) -> None:
    found = breach(limits(**rules), an_entry("m0/p0"), 300, price, history, MIDNIGHT)
    assert (found is None) if words is None else (found is not None and words in str(found))


def test_control_is_always_allowed() -> None:
    strict = limits(max_changes_a_week=2, max_change_percent="1", lowest_price_factor="0.5")
    history = past((3, 270), (2, 300), (1, 250))
    assert breach(strict, an_entry("m0/p0"), 300, 300, history, MIDNIGHT) is None


def test_the_lowest_price_is_that_of_any_instant_in_the_window() -> None:
    history = past((10, 200), (9, 300))
    assert lowest_price(history, 310, MIDNIGHT - 9.5 * DAY, MIDNIGHT) == 200
    assert lowest_price(history, 310, MIDNIGHT - 9 * DAY, MIDNIGHT) == 300
    assert lowest_price(history, 310, MIDNIGHT - 99 * DAY, MIDNIGHT - 10 * DAY) == 310


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=40),
    st.integers(2, 6),
    st.sampled_from(["5", "10", "11.12", "30"]),
)
def test_whatever_is_planned_no_week_has_more_changes_and_no_step_is_longer_than_allowed(
    wanted: list[int], most: int, step: str
) -> None:
    rules = limits(max_changes_a_week=most, max_change_percent=step)
    prices, history, held = (300, 270, 285), list[PriceChange](), 300
    for k, arm in enumerate(wanted):
        at, price = MIDNIGHT + k * DAY, prices[arm]
        if breach(rules, an_entry("m0/p0"), 300, price, history, at) is not None:
            price = 300
        if price != held:
            assert abs(price - held) * 100 <= min(price, held) * Decimal(step)
            history.append(PriceChange(at, price))
            held = price
        assert sum(at - timedelta(days=7) < c.at <= at for c in history) <= most


def test_a_breach_keeps_control_and_says_so() -> None:
    experiment = an_experiment(limits={"max_off_list_percent": Decimal(5)})
    catalog = a_catalog()
    (decision,) = decide(roster(experiment), {"m0": MarketPlan()}, MIDNIGHT - timedelta(hours=1), catalog)
    planned = [p.unit for p in decision.flip.proposals if p.arm == 1]
    flip, kept = keep_within(decision.flip, experiment.limits, catalog, lambda unit: ())
    assert planned
    assert [k.unit for k in kept] == planned
    assert all(p.arm == 0 for p in flip.proposals)
    assert {p.planned_arm for p in flip.proposals if p.unit in planned} == {1}
    assert all("within 5 % of the list price" in p.detail for p in flip.proposals if p.unit in planned)
    assert keep_within(decision.flip, Limits(), catalog, lambda unit: ()) == (decision.flip, ())


# --- guardrails ------------------------------------------------------------------------------------------------------


def blocks(differences: Any, variance: float = 1.0) -> list[BlockDifference]:
    return [BlockDifference(k, float(d), variance) for k, d in enumerate(differences)]


def test_harm_reverts_a_signal_pauses_and_harm_goes_first() -> None:
    harm, signal = Guardrail(metric="revenue"), Guardrail(metric="units", on_breach="pause")
    bad = [look(g, blocks([-5.0] * 20), mixing(g, 1.0)) for g in (signal, harm)]
    assert [verdict.action for verdict in bad] == ["pause", "revert"]
    found = worst(bad)
    assert found is not None
    assert found.guardrail == harm
    assert worst([look(harm, blocks([0.0] * 20), mixing(harm, 1.0))]) is None


def test_before_the_first_closed_block_nothing_is_said() -> None:
    guardrail = Guardrail(metric="units")
    assert look(guardrail, [], 1.0) == Verdict(guardrail, None, 0, None)
    with pytest.raises(NotEstimable, match="variance"):
        mixing(guardrail, 0.0)


def test_a_loss_within_the_tolerance_is_put_up_with() -> None:
    tolerant = Guardrail(metric="units", tolerance=6.0)
    assert look(tolerant, blocks([-5.0] * 40), mixing(tolerant, 1.0)).action is None


def test_looked_at_after_every_block_a_guardrail_raises_false_alarms_no_more_often_than_alpha() -> None:
    guardrail, chance = Guardrail(metric="units", alpha=0.05, expected_blocks=28), np.random.default_rng(3)
    tuning, runs = mixing(guardrail, 1.0), 2000
    sums = np.cumsum(chance.standard_normal((runs, 56)), axis=1)
    ever = 0
    limits_at = [look(guardrail, blocks([0.0] * n), tuning).upper_limit for n in range(1, 57)]
    for path in sums:
        # look() is linear in the sum: shift the limit of zero differences by the running mean
        ever += any(s / n + (limits_at[n - 1] or 0.0) < 0 for n, s in enumerate(path, start=1))
    # nominal 5 %, Monte-Carlo standard error .5 %
    assert 0 < ever / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_true_loss_is_found() -> None:
    guardrail, chance = Guardrail(metric="units", expected_blocks=28), np.random.default_rng(4)
    found = sum(
        look(guardrail, blocks(chance.standard_normal(28) - 1.0), mixing(guardrail, 1.0)).action == "revert"
        for _ in range(100)
    )
    assert found >= 95


# --- the catalog -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({}, ()),
        ({"cost_minor": 210}, ("cost_up",)),
        ({"cost_minor": 150}, ()),
        ({"list_price_minor": 310, "cost_minor": 210}, ("cost_up", "list_price_changed")),
        ({"delisted": True, "in_stock": False}, ("delisted", "out_of_stock")),
    ],
)
def test_changes_that_concern_a_price_are_named(after: dict[str, Any], expected: tuple[str, ...]) -> None:
    before = an_entry("m0/p0", cost_minor=200)
    assert changes(before, an_entry("m0/p0", **{"cost_minor": 200, **after})) == expected


@pytest.mark.parametrize(
    ("policy", "after", "action", "arm", "price"),
    [
        ({}, {"list_price_minor": 320}, "reprice", 1, 288),
        ({"list_price_changed": "keep"}, {"list_price_minor": 320}, "keep", None, None),
        ({}, {"list_price_minor": 220}, "reprice", 0, 220),  # 198 is below the floor of 200
        ({}, {"delisted": True, "list_price_minor": 320}, "drop", 0, None),
        ({"out_of_stock": "drop"}, {"in_stock": False}, "drop", 0, None),
        ({}, {"in_stock": False}, "keep", None, None),
        ({"cost_up": "drop"}, {"cost_minor": 250}, "drop", 0, None),
    ],
)
def test_a_change_acts_as_the_owner_declared(
    policy: dict[str, Any], after: dict[str, Any], action: str, arm: int | None, price: int | None
) -> None:
    experiment = an_experiment(on_catalog_change=policy)
    before = an_entry("m0/p0", cost_minor=200)
    found = react(experiment, before, an_entry("m0/p0", **{"cost_minor": 200, **after}), arm=1)
    assert (found.action, found.arm, found.price_minor) == (action, arm, price)
    assert found.reason
