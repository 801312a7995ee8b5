"""All designs, by the word that a definition uses."""

from controller.design import Design
from controller.designs.random_days import RandomDaysDesign
from controller.experiment import Experiment

DESIGNS: dict[str, Design] = {"random_days": RandomDaysDesign()}


def design_of(experiment: Experiment) -> Design:
    """The design that an experiment names."""
    return DESIGNS[experiment.design.kind]
