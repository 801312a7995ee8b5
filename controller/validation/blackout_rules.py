"""Announcing a blackout: from what somebody wrote to a window that binds, or all the reasons why it cannot."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches

from pydantic import ValidationError

from controller.definition.error_messages import explain, shown
from controller.definition.experiment import Experiment
from controller.definition.field_types import NAME_PATTERN, UNIT_PATTERN, market_of, product_of
from controller.errors import InvalidBlackout, Problem
from controller.messages.inputs import Blackout, CatalogEntry, Scope

#: kind of scope -> how its name is spelled
SPELLED: Mapping[str, tuple[str, str]] = {
    "market": (NAME_PATTERN, "a market"),
    "unit": (UNIT_PATTERN, "a unit, market/product"),
    "cluster": (r"^[A-Za-z0-9][A-Za-z0-9._~/-]{0,128}$", "a cluster, as the definition names it"),
}


def parse_blackout(document: str | bytes) -> Blackout:
    """A window from its JSON; raises InvalidBlackout with every field that is wrong."""
    try:
        window = Blackout.model_validate_json(document)
    except ValidationError as error:
        raise InvalidBlackout(explain(error, Blackout)) from error
    found = tuple(_timeless(window))
    if found:
        raise InvalidBlackout(found)
    return window


def announce(
    window: Blackout, catalog: Mapping[str, CatalogEntry], experiments: Iterable[Experiment], now: datetime
) -> Blackout:
    """The window, if it can bind anything; raises InvalidBlackout that lists every broken rule.

    A window that is over, or that covers nothing that is known, is a slip of the pen: it would protect nothing, and its
    author would think otherwise.
    """
    found = [*_timeless(window)]
    if window.ends_at <= now:
        way_out = "announce a window that ends in the future"
        found.append(Problem("ends_at", str(window.ends_at), f"later than now, {now}", way_out))
    if not found:
        found += unknown_scope(window.scope, catalog, experiments)
    if found:
        raise InvalidBlackout(tuple(found))
    return window


def _timeless(window: Blackout) -> Iterator[Problem]:
    if window.ends_at <= window.starts_at:
        rule = f"a window ends after it starts ({window.starts_at}); its end is the first instant that is free again"
        yield Problem("ends_at", str(window.ends_at), rule, "exchange them, or choose a later end")
    if not window.reason.strip():
        rule = "the reason is published with every change that the window forbids"
        yield Problem("reason", shown(window.reason), rule, "say why")
    kind, name = window.scope.kind, window.scope.name
    if kind == "global":
        if name:
            rule = "a global window covers everything and names nothing"
            yield Problem("scope.name", shown(name), rule, "remove the name, or choose market, cluster or unit")
        return
    pattern, what = SPELLED[kind]
    if not re.match(pattern, name):
        yield Problem("scope.name", shown(name), f"with kind {kind} it names {what}", "name it, or choose kind global")


def unknown_scope(
    scope: Scope, catalog: Collection[str], experiments: Iterable[Experiment], field: str = "scope.name"
) -> Iterator[Problem]:
    """A scope that names no market, cluster or unit of a catalog's units and some experiments, with the nearest."""
    if scope.kind == "global":
        return
    units = set(catalog)
    markets = {market_of(unit) for unit in units}
    known: dict[str, Collection[str]] = {"market": markets, "unit": units}
    if scope.kind == "cluster":
        products = {product_of(unit) for unit in units}
        known["cluster"] = units | markets | products | {c for e in experiments for c in e.cluster_names()}
    if scope.name in known[scope.kind]:
        return
    where = "a registered experiment or the catalog" if scope.kind == "cluster" else "the catalog"
    close = get_close_matches(scope.name, known[scope.kind], n=1)
    way_out = f"did you mean {close[0]}?" if close else "check the name; publish the catalog or register first"
    yield Problem(field, shown(scope.name), f"no {scope.kind} of {where} has this name", way_out)
