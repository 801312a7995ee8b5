"""What `design` accepts without a warning at an instant registration accepts at that instant, and the reverse.

The two have one list of rules (`controller.validation.registration.judge`); what is drawn here looks for a way around
it: filters, zones, currencies, starts around the lead time, limits, named clusters, every design.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.errors import InvalidExperiment
from controller.messages.inputs import CatalogEntry
from controller.schedule.preflight import preview
from controller.validation.preflight_warnings import warnings
from controller.validation.registration import register
from flipside.plan import checked, plan_of

MARKETS, PRODUCTS = ("berlin", "lisbon", "tokyo"), ("coffee", "tea", "mate")
UNITS = tuple(f"{market}/{product}" for market in MARKETS for product in PRODUCTS)
ZONES = {"berlin": "Europe/Berlin", "lisbon": "Europe/Lisbon", "tokyo": "Asia/Tokyo"}
NOW = datetime(2030, 3, 1, 12, tzinfo=UTC)

#: field of a definition -> what it may be, the sound value first
FIELDS: dict[str, list[Any]] = {
    "currency": ["EUR", "USD"],
    "units": [[], ["berlin/tea", "berlin/mate"], ["berlin/tea", "berlin/tee"], list(UNITS), ["berlin/tea"] * 2],
    "select": [{}, {"markets": ["berlin", "berlim"]}, {"categories": ["drink"]}, {"products": ["tea"]}, None],
    "clusters": ["unit", "product", "market", {"one": ["berlin/tea"]}],
    "design": [
        {"kind": "random_days"},
        {"kind": "random_days", "weekday_balance": True},
        {"kind": "blocked_switchback", "block_days": 4, "burn_in_days": 1},
        {"kind": "crossover", "washout_days": 2},
        {"kind": "time_bound"},
        {"kind": "staggered_rollout", "steps": [{"day": 2, "share": "0.5"}]},
        {"kind": "triggered", "rule": {"kind": "price_drop", "share": "0.1"}, "treatment_days": 3},
    ],
    "price": [{"percent": 5}, {"percent": "0.05"}, {"percent": -45}, {"absolute_minor": 5}, {}],
    "start": ["2030-03-06", "2030-03-01", "2030-03-02", "2030-03-03", "2030-02-01"],
    "days": [28, 14, 7, 1],
    "carryover_order": [0, 1, 3, 40],
    "lead_minutes": [60, 1439],
    "limits": [{}, {"min_margin_percent": 10}, {"max_off_list_percent": 3}],
    "guardrails": [[], [{"metric": "margin"}], [{"metric": "units"}]],
    "balance": [{}, {"strata": "category"}],
}
#: field of one unit's catalog entry -> what it may be
ENTRY: dict[str, list[Any]] = {
    "list_price_minor": [0, 1, 34900],
    "cost_minor": [None, 900],
    "currency": ["USD"],
    "time_zone": ["Etc/UTC"],
    "category": [None, "food"],
    "floor_minor": [360],
    "delisted": [True],
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Experiment, dict[str, CatalogEntry], datetime]:
    """A sound definition and catalog with none to three things changed, and an instant before the start or after it."""
    body = {field: values[0] for field, values in FIELDS.items()}
    for field in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2)):
        body[field] = draw(st.sampled_from(FIELDS[field]))
    if body["units"]:
        body["select"] = draw(st.sampled_from([None, None, {}]))
    arms = [{"name": "control"}, {"name": "treated", "price": body.pop("price")}]
    experiment = Experiment.model_validate_json(json.dumps({"name": "drawn", "seed": "1", "arms": arms} | body))
    entries: dict[str, dict[str, Any]] = {
        unit: {
            "unit": unit, "time_zone": ZONES[market_of(unit)], "category": "drinks", "currency": "EUR",
            "list_price_minor": 349, "cost_minor": 150,
        }
        for unit in UNITS
    }  # fmt: skip
    for field in draw(st.one_of(st.just([]), st.lists(st.sampled_from(sorted(ENTRY)), max_size=1))):
        entries[draw(st.sampled_from(UNITS))][field] = draw(st.sampled_from(ENTRY[field]))
    gone = draw(st.sampled_from([0, 0, 0, 0, 1, 4, 8, 9]))
    catalog = {unit: CatalogEntry(**entry) for unit, entry in list(entries.items())[gone:]}
    return experiment, catalog, NOW + timedelta(hours=draw(st.sampled_from([0, 0, 0, 12, 36, 72, 96, 120])))


def registered(experiment: Experiment, catalog: Mapping[str, CatalogEntry], now: datetime) -> tuple[str, ...] | None:
    """None where registration accepts; otherwise what it says."""
    try:
        register(experiment, catalog, (), now)
    except InvalidExperiment as refused:
        return tuple(map(str, refused.problems))
    return None


def accepts_and_refuses_alike(case: tuple[Experiment, dict[str, CatalogEntry], datetime]) -> None:
    """`design` over a definition, a catalog and an instant, against `register` over the same three."""
    experiment, catalog, now = case
    said = registered(experiment, catalog, now)
    try:
        resolved = checked(experiment, catalog, now)
    except InvalidExperiment as refused:
        words: tuple[str, ...] | None = tuple(map(str, refused.problems))
    else:
        words = None
    assert words == said, "both accept, or both refuse in the same words"
    if words is not None:
        event("refused by both")
        return
    cautions = warnings(experiment, resolved, catalog, (), now)
    event("accepted with a warning" if cautions else "accepted without a warning")
    assert resolved == register(experiment, catalog, (), now), "and both resolve it to the same experiment"
    plan = plan_of(resolved, (), 100)
    shown = preview(resolved, catalog, cautions, plan.calendar)
    assert sum(shown.by_market.values()) == sum(shown.by_cluster.values()) == shown.units == shown.priced


@settings(max_examples=200, deadline=None)
@given(cases())
def test_design_and_registration_accept_and_refuse_alike_in_the_same_words(
    case: tuple[Experiment, dict[str, CatalogEntry], datetime],
) -> None:
    accepts_and_refuses_alike(case)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None)
@given(cases())
def test_two_thousand_definitions_are_accepted_or_refused_alike(
    case: tuple[Experiment, dict[str, CatalogEntry], datetime],
) -> None:
    accepts_and_refuses_alike(case)


def test_without_a_catalog_design_never_accepts_without_a_warning() -> None:
    experiment = Experiment.model_validate_json(
        '{"name": "x", "currency": "EUR", "units": ["a/b", "a/c", "a/d", "a/e", "a/f", "a/g"], "seed": "1", "days": 14,'
        ' "arms": [{"name": "control"}, {"name": "dearer", "price": {"percent": 5}}], "start": "2030-03-04"}'
    )
    resolved = checked(experiment, None, NOW)
    assert [one.field for one in warnings(experiment, resolved, None, (), NOW)] == ["(catalog)"]
