"""Blocked switchback: coins at block starts, independent between blocks, and burn-in at each start.

Hu and Wager (burn-in); Bojinov, Simchi-Levi and Zhao (points, and windows that saw one arm only).
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, timedelta

from controller.definition.experiment import Experiment
from controller.definition.parameters import BlockedSwitchback
from controller.designs.design import Block, equal_chances
from controller.randomisation.draw import draw
from controller.randomisation.randomisation_points import optimal_points


class BlockedSwitchbackDesign:
    """Blocks of several days, each dealt anew."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        if not experiment.start <= day < experiment.end:
            return None
        starts = block_starts(experiment)
        index = bisect_right(starts, (day - experiment.start).days + 1) - 1
        ends = (*starts[1:], experiment.days + 1)
        return Block(
            index,
            experiment.start + timedelta(days=starts[index] - 1),
            experiment.start + timedelta(days=ends[index] - 1),
        )

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        return draw(experiment, block.index, experiment.shares()).arms

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        return equal_chances(experiment)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        """The burn-in; without one, a day whose last m days saw another arm (before the start: control)."""
        design, order = experiment.design, experiment.carryover_order
        assert isinstance(design, BlockedSwitchback)
        block = self.block_on(experiment, day)
        if block is None:
            return False
        into_block = (day - block.first).days
        if design.burn_in_days:
            return into_block < design.burn_in_days
        if into_block >= order:
            return False
        if (day - experiment.start).days < order:
            return True
        arm = self.arms(experiment, block)[cluster]
        earliest = day - timedelta(days=order)
        while block.first > earliest:
            block = self.block_on(experiment, block.first - timedelta(days=1))
            assert block is not None
            if self.arms(experiment, block)[cluster] != arm:
                return True
        return False


def block_starts(experiment: Experiment) -> tuple[int, ...]:
    """Days (from 1) on which blocks begin; raises ValueError where ``optimal`` is asked for and none is published."""
    design = experiment.design
    assert isinstance(design, BlockedSwitchback)
    if design.points == "optimal":
        return optimal_points(experiment.days, experiment.carryover_order)
    if design.points is not None:
        return design.points
    return tuple(range(1, experiment.days + 1, design.block_days or 1))
