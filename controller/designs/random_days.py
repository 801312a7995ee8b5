"""Random days: each local day is a block of its own, and exactly half of the clusters are treated on each.

Valid only where an arm stops acting when it ends (carryover order 0).
"""

from collections.abc import Mapping
from datetime import date
from fractions import Fraction

from controller.assignment import deal
from controller.design import Block, single_day
from controller.experiment import Experiment


class RandomDaysDesign:
    """Equal shares for all arms, dealt anew each day; independent between days."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        return single_day(experiment, day)

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        return deal(experiment.seed, experiment.name, block.index, experiment.cluster_names(), self._shares(experiment))

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        return tuple(float(share) for share in self._shares(experiment))

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        return False

    @staticmethod
    def _shares(experiment: Experiment) -> tuple[Fraction, ...]:
        return (Fraction(1, len(experiment.arms)),) * len(experiment.arms)
