"""Triggered: each cluster's clock starts when a rival moves; both arms start then, and the coin was tossed before."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime

from controller.definition.experiment import Experiment
from controller.definition.parameters import Triggered
from controller.designs.design import Block, equal_chances, single_day
from controller.designs.entries import Entry


class TriggeredDesign:
    """Blocks are single days, because entries come one by one; without entries everyone has control."""

    def block_on(self, experiment: Experiment, day: date) -> Block | None:
        return single_day(experiment, day)

    def arms(self, experiment: Experiment, block: Block) -> Mapping[str, int]:
        return dict.fromkeys(experiment.cluster_names(), 0)

    def propensities(self, experiment: Experiment, block: Block) -> tuple[float, ...]:
        """Of an entered cluster, whose coin is all the chance there is."""
        return equal_chances(experiment)

    def washout(self, experiment: Experiment, cluster: str, day: date) -> bool:
        """Whether a day is washed out depends on the entries: :func:`entry_washout`."""
        return False


def arms_entered(experiment: Experiment, entries: Iterable[Entry], day: date, at: datetime) -> dict[str, int]:
    """The arm of each cluster at an instant of a local day, given who has entered: control until an entry begins."""
    arms = dict.fromkeys(experiment.cluster_names(), 0)
    arms.update({entry.cluster: entry.arm for entry in entries if entry.starts_at <= at and day < entry.end_day})
    return arms


def entry_washout(experiment: Experiment, entry: Entry, day: date) -> bool:
    """Whether a day of an entry is thrown out: the first ones, and a first day that was under way when it began."""
    assert isinstance(experiment.design, Triggered)
    if not entry.first_day <= day < entry.end_day:
        return False
    partial = experiment.design.delay_minutes is not None and day == entry.first_day
    return partial or (day - entry.first_day).days < experiment.design.washout_days
