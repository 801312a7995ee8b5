"""A panel with a past."""

from datetime import timedelta

import numpy as np

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from tests.analysis.traffic import history, unit_day

DAY = timedelta(days=1)


def with_past(definition: Experiment, days: int, **more: object) -> list[Message]:
    """A history and the weeks before it."""
    rng = np.random.default_rng(3)
    before = [definition.start - k * DAY for k in range(days, 0, -1)]
    level = rng.lognormal(4, 0.5, len(definition.units))
    sold = [
        unit_day(definition, unit, day, int(rng.poisson(level[number])))
        for day in before
        for number, unit in enumerate(definition.units)
    ]
    return [*sold, *history(definition, **more)]  # type: ignore[arg-type]
