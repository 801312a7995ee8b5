"""Staggered roll-out: a planned share of the clusters enters treatment at each step and stays."""

from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

from controller.definition.experiment import Experiment
from controller.definition.parameters import StaggeredRollout, fraction
from controller.designs.design import Block
from controller.randomisation.draw import draw

#: one draw decides all entries
ENTRIES = 0


class StaggeredRolloutDesign:
    """Block 0 is the time before the first step (empty where that is day 1); block k begins with step k."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        if not experiment.start <= day < experiment.end:
            return None
        starts = [experiment.start, *(experiment.start + timedelta(days=s.day - 1) for s in _design(experiment).steps)]
        ends = [*starts[1:], experiment.end]
        index = max(k for k, start in enumerate(starts) if start <= day)
        return Block(index, starts[index], ends[index])

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        return {cluster: int(step <= block.index) for cluster, step in entries(experiment).items()}

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        treated = 0.0 if block.index == 0 else float(fraction(_design(experiment).steps[block.index - 1].share))
        return (1.0 - treated, treated)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        steps = _design(experiment).steps
        entered = entries(experiment)[cluster]
        if entered > len(steps):
            return False
        since = (day - experiment.start).days - (steps[entered - 1].day - 1)
        return 0 <= since < _design(experiment).washout_days and day < experiment.end


def entries(experiment: Experiment) -> dict[str, int]:
    """The step (from 1) at which each cluster enters; one more than there are steps where it never does."""
    cumulative = [Fraction(0), *(fraction(step.share) for step in _design(experiment).steps), Fraction(1)]
    shares = [b - a for a, b in pairwise(cumulative)]
    return {cluster: step + 1 for cluster, step in draw(experiment, ENTRIES, shares).arms.items()}


def _design(experiment: Experiment) -> StaggeredRollout:
    assert isinstance(experiment.design, StaggeredRollout)
    return experiment.design
