"""The recommendation: among designs that may run and keep their word, the least error; of equals the fewest changes."""

from collections.abc import Iterator, Sequence

from analysis.planning.advice import DesignAdvice, Question

#: bias that a recommended design may have, as a share of the effect
BIAS_ALLOWED = 0.1
#: designs whose standard errors differ by less are alike, and the one with fewer price changes is chosen
ALIKE = 0.05


def recommend(designs: Sequence[DesignAdvice], question: Question) -> tuple[str | None, tuple[str, ...]]:
    """The design to run, and the reasons; None where the owner's constraints leave none."""
    sound = [design for design in designs if design.may_run and not list(_flaws(design, question))]
    if not sound:
        return None, ("no design that may run is unbiased and keeps its error rate on this history",)
    least = min(design.se for design in sound if design.se is not None)
    alike = [d for d in sound if d.se is not None and d.se <= (1 + ALIKE) * least]
    chosen = min(alike, key=lambda d: (d.changes_per_unit or 0.0, d.se or 0.0, d.name))
    assert chosen.mde is not None
    smallest = "the smallest standard error" if len(alike) == 1 else "one of the smallest standard errors"
    reasons = [
        f"{chosen.name} has {smallest} of {_counted(len(sound))} that may run: {chosen.se:.2%} of control's mean"
    ]
    if len(alike) > 1:
        reasons.append(
            f"{len(alike)} designs are within {ALIKE:.0%} of it; this one changes prices least often,"
            f" {chosen.changes_per_unit:.1f} times a unit"
        )
    reasons.append(f"bias {chosen.bias:+.2%} (Monte-Carlo error {chosen.bias_error:.2%}) under the stated carryover")
    unit = "days" if question.constraints.period_days == 1 else "weeks"
    effect = question.truth.effect
    if chosen.mde <= abs(effect):
        reasons.append(
            f"it finds {effect:+.1%} with power {question.power:.0%} after {chosen.periods_to_decide} {unit}"
        )
    else:
        longer = "" if chosen.periods_to_decide is None else f"; that takes {chosen.periods_to_decide} {unit}"
        reasons.append(
            f"yet {chosen.periods} {unit} find no effect under {chosen.mde:.1%}, and {effect:+.1%} is asked for{longer}"
        )
    assert chosen.se_range is not None
    low, high = chosen.se_range
    if high > 1.15 * low:
        reasons.append(
            f"on parts of the history its standard error went from {low:.2%} to {high:.2%}: the weeks to come may be"
            " like either"
        )
    quicker = [d for d in sound if d.periods_to_decide and d.periods_to_decide < (chosen.periods_to_decide or 10**9)]
    if quicker:
        quickest = min(quicker, key=lambda d: (d.periods_to_decide or 0, d.name))
        reasons.append(f"{quickest.name} would decide sooner, after {quickest.periods_to_decide} {unit}")
    for other in designs:
        if other.may_run and other.se is not None and other.se < least:
            reasons.append(f"{other.name} errs less but {next(_flaws(other, question))}")
        elif other.refused and other.bias is not None and abs(other.bias) > BIAS_ALLOWED * abs(effect):
            reasons.append(f"{other.name} would be off by {other.bias:+.2%}: {other.refused}")
    return chosen.name, tuple(reasons)


def _flaws(design: DesignAdvice, question: Question) -> Iterator[str]:
    """Why a design that may run is not recommended."""
    assert design.bias is not None
    assert design.bias_error is not None
    assert design.false_positives is not None
    if abs(design.bias) > max(BIAS_ALLOWED * abs(question.truth.effect), 3 * design.bias_error):
        yield f"is biased by {design.bias:+.2%}"
    error = 3 * (question.alpha * (1 - question.alpha) / design.runs) ** 0.5
    if design.false_positives > question.alpha + error:
        yield f"calls {design.false_positives:.1%} of A/A runs an effect"


def _counted(designs: int) -> str:
    return "the only design" if designs == 1 else f"{designs} designs"
