"""Kill switches: which units must show control now, whatever their experiment's design says."""

from collections.abc import Iterable, Mapping

from controller.definition.experiment import Experiment
from controller.messages.control import Kill, SetAside


def standing(kills: Iterable[Kill]) -> dict[str, Kill]:
    """The switches that are on, by id: the latest word on each id counts."""
    latest: dict[str, Kill] = {}
    for kill in kills:
        known = latest.get(kill.id)
        if known is None or kill.requested_at >= known.requested_at:
            latest[kill.id] = kill
    return {name: kill for name, kill in latest.items() if not kill.lifted}


def killed(kills: Iterable[Kill], experiment: str, market: str) -> Kill | None:
    """The switch that holds an experiment in a market at control; of several the widest, then the first pulled."""
    wanted = {"all": "", "market": market, "experiment": experiment}
    width = {"all": 0, "market": 1, "experiment": 2}
    hits = [kill for kill in kills if not kill.lifted and wanted[kill.scope] == kill.name]
    return min(hits, key=lambda kill: (width[kill.scope], kill.requested_at, kill.id), default=None)


def suspended(said: Iterable[SetAside], epochs: Mapping[int, int]) -> list[SetAside]:
    """What is set aside now, each once; ``epochs``: shard -> the epoch that owns it. A later owner has tried again."""
    found = {one.id: one for one in said if one.epoch >= epochs.get(one.shard, one.epoch)}
    return sorted(found.values(), key=lambda one: (one.market, one.experiment, one.duty))


def concerns(one: SetAside, experiment: Experiment) -> bool:
    """Whether an experiment is not drawn in a market because that is set aside."""
    return one.experiment in ("", experiment.name) and one.market in experiment.units_by_market()
