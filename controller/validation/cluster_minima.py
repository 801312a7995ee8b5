"""How many clusters each kind of number needs: the one place that docs, reports, `design`, `power` and `advise` quote.

A count is per arm, because an arm's variance is taken over its own clusters. An experiment needs it in control and in
each treated arm at once; with equal shares that is the count times the number of arms. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from controller.definition.experiment import Experiment
from controller.definition.parameters import StaggeredRollout, fraction

Kind = Literal["fixed", "always_valid", "guardrail", "weekday_balance"]

#: the causal forest halves its clusters twice; spillover regressions lose as many degrees of freedom
CLUSTERS_FOR_HETEROGENEITY = 6


@dataclass(frozen=True, slots=True)
class Need:
    """What one kind of number asks of each arm."""

    what: str
    #: clusters in each arm, in at least one block
    an_arm: int
    #: what happens with fewer
    otherwise: str


#: two clusters tell a variance; three tell it well enough that a wrong plan does no harm at any time (with two in an
#: arm, 12 % of the 95 % intervals missed: analysis/sequential/confidence_sequences.py)
NEEDS: Mapping[Kind, Need] = {
    "fixed": Need(
        "a fixed interval with its error between clusters",
        2,
        "the error is taken between draws, and one draw gives no interval at all",
    ),
    "always_valid": Need("an always-valid interval", 3, "no always-valid interval is published"),
    "guardrail": Need("a guardrail", 3, "no guardrail watches the arm"),
    "weekday_balance": Need(
        "weekday balance", 2, "a weekday's draw has no error of its own, and its days are not compared block by block"
    ),
}


def needed(kind: Kind, arms: int = 2) -> int:
    """Clusters that an experiment of so many arms with equal shares needs for one kind of number."""
    return NEEDS[kind].an_arm * arms


def requirement(kind: Kind, arms: int = 2) -> str:
    """The rule as a sentence: "an always-valid interval needs 3 clusters in each arm (6 for 2 arms)"."""
    need = NEEDS[kind]
    return f"{need.what} needs {need.an_arm} clusters in each arm ({needed(kind, arms)} for {arms} arms)"


def too_few(kind: Kind, clusters: int, arms: int = 2) -> str | None:
    """The rule and what follows where so many clusters in equal shares are too few; None where they are enough."""
    if clusters // arms >= NEEDS[kind].an_arm:
        return None
    return f"{requirement(kind, arms)}; with {clusters} clusters {NEEDS[kind].otherwise}"


def least_clusters_an_arm(experiment: Experiment) -> int:
    """Clusters that the smallest arm is certain to have in the block where it has most. O(clusters)."""
    clusters = len(experiment.cluster_names())
    design = experiment.design
    if isinstance(design, StaggeredRollout):
        treated = [int(clusters * min(fraction(step.share), Fraction(1))) for step in design.steps]
        return max(min(one, clusters - one) for one in treated)
    return min(int(clusters * share) for share in experiment.shares())
