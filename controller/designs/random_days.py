"""Random days: each local day is a block of its own, and the arms' shares are met exactly on each.

Valid only where an arm stops acting when it ends (carryover order 0).
"""

from collections.abc import Mapping
from datetime import date

from controller.definition.experiment import Experiment
from controller.definition.parameters import RandomDays
from controller.designs.design import Block, equal_chances, single_day
from controller.randomisation.draw import draw
from controller.randomisation.hash_scores import permuted


class RandomDaysDesign:
    """Dealt anew each day, independent between days; with weekday balance, days a week apart complete each other."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        return single_day(experiment, day)

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        design = experiment.design
        if not (isinstance(design, RandomDays) and design.weekday_balance):
            return draw(experiment, block.index, experiment.shares()).arms
        # One draw serves the same weekday of as many weeks as there are arms, turned by another step in each week.
        levels = len(experiment.arms)
        week, weekday = divmod(block.index, 7)
        cycle, turn = divmod(week, levels)
        first = cycle * levels * 7 + weekday
        step = permuted(experiment.seed, experiment.name, first, "turn", levels)[turn]
        drawn = draw(experiment, first, experiment.shares()).arms
        return {cluster: (arm + step) % levels for cluster, arm in drawn.items()}

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        return equal_chances(experiment)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        return False
