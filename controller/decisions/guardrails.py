"""Guardrails: a bound that may be looked at after every block, and what to do when it leaves what is tolerated.

A difference is "treated minus control" per cluster-day in one closed block. The upper limit of their mean is valid at
every look (controller/decisions/always_valid_bounds.py); harm is when even that limit is below minus the tolerance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.decisions.always_valid_bounds import mixing_for, upper_limit
from controller.definition.parameters import Guardrail
from controller.messages.control import Action
from controller.messages.findings import RunningSequence

#: what a breach asks of the lifecycle
ACTION: dict[str, Action] = {"revert": "revert", "pause": "pause"}


@dataclass(frozen=True, slots=True)
class BlockDifference:
    """Treated minus control in one closed block, clean days only, less the forecast from before the block."""

    block: int
    #: per cluster-day, in the metric's own unit
    difference: float
    #: s_T^2 / n_T + s_C^2 / n_C
    variance: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guardrail says after a look."""

    guardrail: Guardrail
    #: the effect is below this at every look with error at most alpha; None before the first closed block
    upper_limit: float | None
    blocks: int
    #: what the lifecycle is asked for; None while nothing is wrong
    action: Action | None


def mixing(guardrail: Guardrail, variance_of_a_block: float) -> float:
    """The bound's tuning, fixed before the start from the pre-period's variance of one block's difference.

    Raises NotEstimable where that variance is not positive.
    """
    return mixing_for(guardrail.expected_blocks * variance_of_a_block, guardrail.alpha, sides=1)


def look(guardrail: Guardrail, closed: Sequence[BlockDifference], tuning: float) -> Verdict:
    """The verdict on all blocks closed so far; call it as often as you like."""
    if not closed:
        return Verdict(guardrail, None, 0, None)
    limit = upper_limit(
        sum(block.difference for block in closed),
        sum(block.variance for block in closed),
        len(closed),
        tuning,
        guardrail.alpha,
    )
    breached = limit < -guardrail.tolerance
    return Verdict(guardrail, limit, len(closed), ACTION[guardrail.on_breach] if breached else None)


def first_breach(guardrail: Guardrail, sequence: RunningSequence, treated_arms: int) -> Verdict | None:
    """The first look of a published sequence at which an arm's bound left what is tolerated; None where none has.

    Whoever looks late, or only now and then, finds the same look. ``treated_arms``: each has its part of alpha. A
    sequence that could not be planned has no bound, and says so itself.
    """
    if not sequence.planned_variance or not sequence.planned_looks:
        return None
    own = guardrail.model_copy(update={"alpha": guardrail.alpha / treated_arms})
    tuning = mixing(own, sequence.planned_variance / sequence.planned_looks)
    closed = [BlockDifference(look.block, look.difference, look.difference_se**2) for look in sequence.looks]
    total = variance = 0.0
    for count, block in enumerate(closed, start=1):
        total, variance = total + block.difference, variance + block.variance
        if upper_limit(total, variance, count, tuning, own.alpha) < -guardrail.tolerance:
            return look(own, closed[:count], tuning)
    return None


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict to act on: harm before a signal, then the guardrail that stands first; None where all is well."""
    breached = [verdict for verdict in verdicts if verdict.action is not None]
    return min(breached, key=lambda verdict: verdict.action != "revert", default=None)
