"""Propensities: the chance of each arm, exact where a formula exists, else by drawing again and again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from controller.definition.experiment import Experiment
from controller.designs import design_of
from controller.designs.design import Block


@dataclass(frozen=True, slots=True)
class Propensity:
    """The chance of each arm of each cluster in a block."""

    #: cluster -> chance of each arm
    chances: Mapping[str, tuple[float, ...]]
    #: draws behind the numbers; None: exact
    draws: int | None


def is_exact(experiment: Experiment) -> bool:
    """Whether chances are the shares: always, but for unequal shares under re-randomisation.

    Turning the arms in a circle leaves a draw of equal shares as likely and as near as it was; with unequal shares the
    accepted draws may favour some clusters.
    """
    return experiment.balance.max_distance is None or len(set(experiment.shares())) == 1


def propensity(experiment: Experiment, block: Block, draws: int = 2000) -> Propensity:
    """The chances in a block; by ``draws`` draws of the production generator, over other seeds, where none is exact."""
    design = design_of(experiment)
    if is_exact(experiment):
        return Propensity(dict.fromkeys(experiment.cluster_names(), design.propensities(experiment, block)), None)
    return monte_carlo(experiment, block, draws)


def monte_carlo(experiment: Experiment, block: Block, draws: int) -> Propensity:
    """Relative frequencies over ``draws`` seeds ``SEED~k``: standard error at most ``0.5 / sqrt(draws)``."""
    design = design_of(experiment)
    counted: Counter[tuple[str, int]] = Counter()
    for k in range(draws):
        reseeded = experiment.model_copy(update={"seed": f"{experiment.seed[:100]}~{k}"})
        counted.update(design.arms(reseeded, block).items())
    levels = range(len(experiment.arms))
    chances = {c: tuple(counted[c, arm] / draws for arm in levels) for c in experiment.cluster_names()}
    return Propensity(chances, draws)


def pair_probability(clusters: int, share: Fraction) -> Fraction:
    """The chance that two given clusters both get an arm of this share in a plain deal, exact.

    The count is floor or ceiling of ``clusters x share``; given the count, pairs are drawn without replacement.
    """
    if clusters < 2:
        raise ValueError(f"clusters = {clusters}: a pair needs two")
    expected = clusters * share
    low = expected.numerator // expected.denominator
    rest = expected - low
    pairs = (1 - rest) * low * (low - 1) + rest * (low + 1) * low
    return Fraction(pairs, clusters * (clusters - 1))
