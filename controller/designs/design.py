"""What a design is: a plan of blocks, a draw of arms, its propensities, and the days whose data are washed out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from controller.definition.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Block:
    """Local days [first, end) that share one draw."""

    index: int
    first: date
    end: date


class Design(Protocol):
    """What a design must answer, from the definition alone."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        """The block that holds a local day; None outside the experiment."""
        ...

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        """The arm (index) of each cluster in a block."""
        ...

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        """The probability of each arm for a cluster in a block, exact over seeds."""
        ...

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        """Whether the data of a cluster's day are thrown out because a transition is still wearing off."""
        ...


def single_day(experiment: Experiment, day: date) -> Block | None:
    """The block of a design whose blocks are single days."""
    if not experiment.start <= day < experiment.end:
        return None
    return Block((day - experiment.start).days, day, day + timedelta(days=1))


def whole(experiment: Experiment, day: date) -> Block | None:
    """The block of a design that has only one."""
    return Block(0, experiment.start, experiment.end) if experiment.start <= day < experiment.end else None


def equal_chances(experiment: Experiment) -> tuple[float, ...]:
    """The share of each arm: a cluster's chance of it in a block that is dealt."""
    return tuple(float(share) for share in experiment.shares())
