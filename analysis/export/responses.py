"""Rows of who responds, and of which clusters carry a number: computed from closed days, the same at every export."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from analysis.panel_data.analysis_context import METRICS, Case, Metric
from analysis.panel_data.attribute_table import Attributes
from analysis.responses.of_experiment import as_registered, influence, responses
from controller.messages.events import Registered

Row = dict[str, Any]
#: an experiment's name and version
Key = tuple[str, int]


def attributes_at_registration(registered: Iterable[Registered]) -> dict[Key, Attributes]:
    """What the catalog said of each experiment's units before it began."""
    return {
        (one.experiment.name, one.experiment.version): as_registered(one.experiment.units, one.attributes)
        for one in registered
    }


def response_rows(case: Case, attributes: Attributes) -> Iterator[Row]:
    """Of every metric and arm; none at all where the catalog gave units no attributes."""
    if not attributes.columns:
        return
    for metric, arm, common in _series(case):
        found = responses(case, attributes, metric, arm)
        common = {**common, "looked_at": found.looked_at, "notes": list(found.notes)}
        if not found.rows:
            yield {**common, "reason_absent": found.reason_absent}
        for one in found.rows:
            yield {**common, **{name: getattr(one, name) for name in one.__slots__}}


def influence_rows(case: Case) -> Iterator[Row]:
    """The ten clusters that move each metric and arm most, the largest first."""
    for metric, arm, common in _series(case):
        found = influence(case, metric, arm)
        if isinstance(found, str):
            yield {**common, "reason_absent": found}
            continue
        turning = {
            "turning": None if found.turning is None else list(found.turning),
            "turning_is_smallest": found.turning_is_smallest,
        }
        for rank, (cluster, move) in enumerate(found.largest(), start=1):
            without = {"effect": found.effect, "effect_without": found.effect - move}
            yield {**common, **turning, "rank": rank, "cluster": cluster, "move": move, **without}


def _series(case: Case) -> Iterator[tuple[Metric, int, Row]]:
    experiment, words = case.roster.experiment, case.words
    common = {
        "experiment": words["experiment"],
        "version": words["experiment_version"],
        "day": case.through,
        "planned_day": experiment.end - timedelta(days=1),
        "left_out": [],
        "offsets": list(words["offsets"].items()),
        **{name: words[name] for name in ("revision", "watermark", "design_hash", "code_version")},
    }
    for metric in METRICS:
        for arm in range(1, len(experiment.arms)):
            yield metric, arm, {**common, "metric": metric, "arm": experiment.arms[arm].name}
