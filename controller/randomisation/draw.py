"""The draw of a block: shares met exactly, and beyond them strata and covariates kept even where the owner asks.

Candidate 0 is the plain draw; candidate k > 0 is the same draw under the experiment's name with ``#k`` appended, which
no experiment can have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from controller.definition.experiment import Experiment
from controller.randomisation.hash_scores import HASH_RANGE, deal, permuted, score


@dataclass(frozen=True, slots=True)
class Draw:
    """The arms of a block, and how balanced they are."""

    #: cluster -> arm
    arms: Mapping[str, int]
    #: which candidate was taken, 0 for the first
    candidate: int
    #: distance between the arms' pre-period covariates; None where none is asked for
    distance: float | None


def draw(experiment: Experiment, block: int, shares: Sequence[Fraction], clusters: Sequence[str] | None = None) -> Draw:
    """The arms of all clusters in a block, with strata and re-randomisation as the definition says.

    The first candidate within ``balance.max_distance`` is taken; after ``max_draws`` of them the nearest one.
    """
    names = experiment.cluster_names() if clusters is None else clusters
    strata = strata_of(experiment, names)
    limit = experiment.balance.max_distance
    if limit is None:
        return Draw(_candidate(experiment, block, shares, names, strata, 0), 0, None)
    scores = standardised(experiment, names)
    best: Draw | None = None
    for candidate in range(experiment.balance.max_draws):
        arms = _candidate(experiment, block, shares, names, strata, candidate)
        found = Draw(arms, candidate, distance(scores, np.array([arms[name] for name in names]), len(shares)))
        assert found.distance is not None
        if best is None or best.distance is None or found.distance < best.distance:
            best = found
        if found.distance <= limit:
            return found
    assert best is not None
    return best


def _candidate(
    experiment: Experiment,
    block: int,
    shares: Sequence[Fraction],
    names: Sequence[str],
    strata: Sequence[Sequence[str]] | None,
    candidate: int,
) -> dict[str, int]:
    name = experiment.name if candidate == 0 else f"{experiment.name}#{candidate}"
    if strata is None:
        return deal(experiment.seed, name, block, names, shares)
    return deal_in_strata(experiment.seed, name, block, strata, shares)


def deal_in_strata(
    seed: str, experiment: str, block: int, strata: Sequence[Sequence[str]], shares: Sequence[Fraction]
) -> dict[str, int]:
    """Arms dealt along the strata: each stratum, and the whole, is within one cluster of its shares.

    Strata are laid end to end in a random order, the clusters of each by their scores, and arms are dealt along the
    line at even spacing from a random start. Pairs get one arm each. Two arms of any share, or equal shares.
    """
    line = [
        cluster
        for stratum in sorted(strata, key=lambda members: score(seed, experiment, block, "stratum", *sorted(members)))
        for cluster in sorted(stratum, key=lambda name: (score(seed, experiment, block, name), name))
    ]
    start = Fraction(score(seed, experiment, block), HASH_RANGE)
    if len(shares) == 2:
        treated = shares[1]
        steps = [int(treated * k + start) for k in range(len(line) + 1)]
        return {cluster: steps[k + 1] - steps[k] for k, cluster in enumerate(line)}
    if len(set(shares)) > 1:
        raise ValueError(f"shares {shares}: strata need two arms or equal shares")
    order = permuted(seed, experiment, block, "arm", len(shares))
    return {cluster: order[k % len(shares)] for k, cluster in enumerate(line)}


def strata_of(experiment: Experiment, names: Sequence[str]) -> tuple[tuple[str, ...], ...] | None:
    """The strata of a definition; None where clusters are dealt all together."""
    strata = experiment.balance.strata
    if strata is None:
        return None
    if isinstance(strata, dict):
        wanted = set(names)
        return tuple(tuple(sorted(wanted & set(members))) for _, members in sorted(strata.items()))
    if strata == "category":
        raise ValueError("strata by category are filled in from the catalog at registration: register it first")
    covariates = experiment.balance.covariates
    ranked = sorted(names, key=lambda name: (covariates[name][0], name))
    size = experiment.balance.stratum_size
    return tuple(tuple(ranked[k : k + size]) for k in range(0, len(ranked), size))


def standardised(experiment: Experiment, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Covariates turned so that their covariance is the identity, shape (clusters, rank)."""
    raw = np.array([experiment.balance.covariates[name] for name in names], dtype=np.float64)
    centred = raw - raw.mean(axis=0)
    covariance = np.atleast_2d(np.cov(centred, rowvar=False))
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values.max(initial=0.0) * 1e-10
    turned: npt.NDArray[np.float64] = centred @ vectors[:, kept] / np.sqrt(values[kept])
    return turned


def distance(scores: npt.NDArray[np.float64], arms: npt.NDArray[np.int_], levels: int) -> float:
    """``sum_k n_k (x_k - x)' S^-1 (x_k - x)`` over arms; for two arms Morgan and Rubin's M (Annals of Statistics 40).

    Over plain draws it is about chi-squared with (arms - 1) x covariates degrees of freedom.
    """
    total = 0.0
    for arm in range(levels):
        mine = scores[arms == arm]
        if len(mine):
            total += len(mine) * float(np.sum(mine.mean(axis=0) ** 2))
    return total
