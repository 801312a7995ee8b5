"""Rows that were revised."""

from datetime import timedelta

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from tests.analysis.traffic import closing, history, unit_day


def revised(definition: Experiment) -> list[Message]:
    """A history in which two unit-days are revised, one of them twice, and the day's closing with them."""
    late = definition.start + timedelta(days=2)
    return [
        *history(definition),
        unit_day(definition, "m01/p0", late, 99, revision=1, events=2),
        closing(definition, "m01", late, revision=1, late=1),
        unit_day(definition, "m01/p0", late, 103, revision=2, events=3),
        unit_day(definition, "m02/p1", late, 7, revision=1, events=2),
        closing(definition, "m01", late, revision=2, late=2),
    ]
