"""All designs, by the word that a definition uses."""

from controller.definition.experiment import Experiment
from controller.designs.blocked_switchback import BlockedSwitchbackDesign
from controller.designs.crossover import CrossoverDesign
from controller.designs.design import Design
from controller.designs.random_days import RandomDaysDesign
from controller.designs.staggered_rollout import StaggeredRolloutDesign
from controller.designs.time_bound import TimeBoundDesign
from controller.designs.triggered import TriggeredDesign

DESIGNS: dict[str, Design] = {
    "random_days": RandomDaysDesign(),
    "time_bound": TimeBoundDesign(),
    "crossover": CrossoverDesign(),
    "blocked_switchback": BlockedSwitchbackDesign(),
    "staggered_rollout": StaggeredRolloutDesign(),
    "triggered": TriggeredDesign(),
}


def design_of(experiment: Experiment) -> Design:
    """The design that an experiment names."""
    return DESIGNS[experiment.design.kind]
