"""An experiment laid out for deciding: what is looked up a thousand times a day, computed once a definition."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.definition.experiment import Experiment, design_hash


@dataclass(frozen=True, slots=True)
class Roster:
    """A registered experiment with its units by market and its clusters by unit."""

    experiment: Experiment
    design_hash: str
    time_zones: Mapping[str, str]
    #: sorted units of each market
    units: Mapping[str, tuple[str, ...]]
    cluster_of: Mapping[str, str]
    #: sorted, all of them
    clusters: tuple[str, ...]
    #: sorted units of each cluster
    units_of: Mapping[str, tuple[str, ...]]
    #: nothing more is drawn: from the next undecided day on, units go back to control
    stopped: bool = False


def roster(experiment: Experiment, stopped: bool = False) -> Roster:
    """Lay an experiment out. O(units log units)."""
    clusters = experiment.cluster_by_unit()
    together: dict[str, list[str]] = {}
    for unit in sorted(experiment.units):
        together.setdefault(clusters[unit], []).append(unit)
    return Roster(
        experiment=experiment,
        design_hash=design_hash(experiment),
        time_zones=experiment.time_zones(),
        units=experiment.units_by_market(),
        cluster_of=clusters,
        clusters=tuple(sorted(together)),
        units_of={cluster: tuple(units) for cluster, units in together.items()},
        stopped=stopped,
    )
