"""Why a cluster has its arm on a day: the steps of the draw, so that a sceptic can repeat each of them."""

from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

from controller.definition.experiment import Experiment, design_hash
from controller.definition.parameters import Crossover, RandomDays, StaggeredRollout, Triggered
from controller.designs import design_of
from controller.randomisation.hash_scores import counts, score


@dataclass(frozen=True, slots=True)
class Explanation:
    """An arm with the reasons for it."""

    cluster: str
    day: date
    arm: str
    washed_out: bool
    steps: tuple[str, ...]


def explain_arm(experiment: Experiment, cluster: str, day: date) -> Explanation:
    """The steps that led to an arm; raises ValueError for a cluster or a day that is not the experiment's."""
    clusters = experiment.cluster_names()
    if cluster not in clusters:
        close = get_close_matches(cluster, clusters, n=1)
        meant = f"did you mean {close[0]}?" if close else f"they are {clusters[0]}, ..."
        raise ValueError(f"cluster {cluster!r} is none of {experiment.name}'s {len(clusters)}; {meant}")
    design = design_of(experiment)
    block = design.block_on(experiment, day)
    if block is None:
        raise ValueError(f"day {day} is outside {experiment.name}: {experiment.start} until before {experiment.end}")
    arm = design.arms(experiment, block)[cluster]
    name = experiment.arms[arm].name
    steps = [
        f"design {experiment.design.kind}, hash {design_hash(experiment)}",
        f"{day} is day {(day - experiment.start).days + 1} of {experiment.days}, in block {block.index} "
        f"({block.first} until before {block.end})",
        *_draw_steps(experiment, cluster, clusters, block.index),
        f"so {cluster} has {name} (arm {arm})",
    ]
    return Explanation(cluster, day, name, design.washout(experiment, cluster, day), tuple(steps))


def _draw_steps(experiment: Experiment, cluster: str, clusters: tuple[str, ...], block: int) -> list[str]:
    if isinstance(experiment.design, Triggered):
        return ["nothing has entered here: arms come from entries, each with the coin SEED|EXPERIMENT|start|CLUSTER|N"]
    index = 0 if isinstance(experiment.design, Crossover | StaggeredRollout) else block
    balanced = isinstance(experiment.design, RandomDays) and experiment.design.weekday_balance
    if experiment.balance.strata is not None or experiment.balance.max_distance is not None or balanced:
        return [
            f"dealt with strata, covariates or weekdays kept even: "
            f"controller/randomisation/draw.py, names of block {index}"
        ]
    seed, name = experiment.seed, experiment.name
    ranked = sorted(clusters, key=lambda c: (score(seed, name, index, c), c))
    steps = [
        f"printf '{seed}|{name}|{index}|{cluster}' | sha256sum begins with {score(seed, name, index, cluster):016x}",
        f"that is place {ranked.index(cluster) + 1} of {len(clusters)} in the block's order",
    ]
    if not isinstance(experiment.design, StaggeredRollout):
        dealt = counts(seed, name, index, len(clusters), experiment.shares())
        spelled = ", ".join(f"{n} {arm.name}" for n, arm in reversed(list(zip(dealt, experiment.arms, strict=True))))
        steps.append(f"arms are dealt along that order: {spelled}")
    if isinstance(experiment.design, Crossover):
        steps.append("the second phase swaps the arms of the first")
    return steps
