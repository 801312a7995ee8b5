"""Time-bound: a random part of the clusters is treated from the first day to the last, the rest are controls."""

from collections.abc import Mapping
from datetime import date, timedelta

from controller.definition.experiment import Experiment
from controller.definition.parameters import TimeBound
from controller.designs.design import Block, equal_chances, whole
from controller.randomisation.draw import draw


class TimeBoundDesign:
    """One block, one draw."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        return whole(experiment, day)

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        return draw(experiment, block.index, experiment.shares()).arms

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        return equal_chances(experiment)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        assert isinstance(experiment.design, TimeBound)
        return experiment.start <= day < experiment.start + timedelta(days=experiment.design.washout_days)
