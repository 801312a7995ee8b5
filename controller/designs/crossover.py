"""Crossover: half A treated in phase 1, half B in phase 2, the first days of both phases thrown out."""

from collections.abc import Mapping
from datetime import date, timedelta

from controller.definition.experiment import Experiment
from controller.definition.parameters import Crossover
from controller.designs.design import Block, equal_chances
from controller.randomisation.draw import draw

FIRST, BETWEEN, SECOND = 0, 1, 2


class CrossoverDesign:
    """Two phases from one draw, the second its complement; between them, if there is a gap, everyone has control."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        for block in _phases(experiment):
            if block.first <= day < block.end:
                return block
        return None

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        drawn = draw(experiment, FIRST, experiment.shares()).arms
        if block.index == BETWEEN:
            return dict.fromkeys(drawn, 0)
        return drawn if block.index == FIRST else {cluster: 1 - arm for cluster, arm in drawn.items()}

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        return (1.0, 0.0) if block.index == BETWEEN else equal_chances(experiment)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        assert isinstance(experiment.design, Crossover)
        block = self.block_on(experiment, day)
        if block is None:
            return False
        return block.index == BETWEEN or (day - block.first).days < experiment.design.washout_days


def _phases(experiment: Experiment) -> tuple[Block, ...]:
    """The phases and the gap between them, which may be empty."""
    design, start = experiment.design, experiment.start
    assert isinstance(design, Crossover)
    if design.phases is None:
        middle = start + timedelta(days=experiment.days // 2)
        return Block(FIRST, start, middle), Block(SECOND, middle, experiment.end)
    one, two = design.phases
    first_end = start + timedelta(days=one.first_day - 1 + one.days)
    second = start + timedelta(days=two.first_day - 1)
    return (
        Block(FIRST, start + timedelta(days=one.first_day - 1), first_end),
        Block(BETWEEN, first_end, second),
        Block(SECOND, second, second + timedelta(days=two.days)),
    )
