"""A shop of twelve pairs of substitutes: what the worker would read of an experiment on it, and the graph."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from analysis.panel_data.ledger import Ledger
from analysis.panel_data.substitutes import Substitutes
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.events import Assignment, UnitDay
from controller.messages.graphs import GraphPart, records_of
from tests.analysis.traffic import experiment, history, unit_day

CLUSTERS, SIZE = 12, 2
PRODUCTS = CLUSTERS * SIZE
#: a piece more of the treated unit, and so many fewer where all its neighbours are treated
DIRECT, SPILL = 60, -36
#: substitutes share a cluster; every other product has one next door too
PAIRS = tuple(
    [(f"p{2 * c}", f"p{2 * c + 1}", 2.0) for c in range(CLUSTERS)]
    + [(f"p{2 * c}", f"p{(2 * c + 3) % PRODUCTS}", 1.0) for c in range(0, CLUSTERS, 3)]
)
GRAPH = Substitutes("g1", PAIRS)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def definition(**more: Any) -> Experiment:
    clusters = {f"c{c:02d}": tuple(f"m00/p{SIZE * c + k}" for k in range(SIZE)) for c in range(CLUSTERS)}
    return experiment(**{"markets": 1, "products": PRODUCTS, "days": 14, "clusters": clusters, **more})


def sold(given: Experiment, substitutes: Substitutes = GRAPH) -> list[Message]:
    """The history of an experiment whose sales follow the own arm and the share of treated neighbours."""
    messages = [m for m in history(given) if not isinstance(m, UnitDay)]
    arms = {(m.unit, m.day): m.arm != "control" for m in messages if isinstance(m, Assignment)}
    rng = np.random.default_rng(5)
    for unit, day in sorted(arms):
        near = [
            (f"m00/{second if first == unit[4:] else first}", weight)
            for first, second, weight in substitutes.pairs
            if unit[4:] in (first, second)
        ]
        total = sum(weight for _, weight in near)
        share = sum(weight * arms[other, day] for other, weight in near) / total if total else 0
        quantity = 500 + DIRECT * arms[unit, day] + round(SPILL * share) + int(rng.integers(-3, 4))
        messages.insert(len(messages) - given.days, unit_day(given, unit, day, quantity))
    return messages


def published(substitutes: Substitutes = GRAPH, at: datetime = AT) -> list[GraphPart]:
    """The records of a graph without clusters."""
    return list(records_of(substitutes.version, PRODUCTS, substitutes.pairs, {}, at))


def read(messages: list[Message], substitutes: Substitutes | None = GRAPH) -> Ledger:
    ledger = Ledger()
    if substitutes is not None:
        for record in published(substitutes):
            ledger.graphs.published.take(record.key, record)
    for message in messages:
        ledger.fold(message)
    return ledger
